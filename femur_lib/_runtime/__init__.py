"""What any program needs and no reader of the method has to know: errors, files, the machine."""
