// The theme's buttons that unfold a part of the list of pages say nothing to who cannot see them.
document.addEventListener("DOMContentLoaded", () => {
  for (const summary of document.querySelectorAll(".bd-sidebar-primary summary")) {
    const link = summary.closest("li").querySelector("a");
    summary.setAttribute("aria-label", `Pages below ${link.textContent.trim()}`);
  }
});

// The quiz: a choice is a button, and its explanation appears below it when it is chosen. Without this script all
// explanations can be read at once.
document.addEventListener("DOMContentLoaded", () => {
  const questions = [...document.querySelectorAll(".quiz")];
  if (!questions.length) return;
  const score = document.createElement("p");
  score.id = "score";
  score.setAttribute("role", "status");
  let answered = 0, right = 0;
  const say = () => {
    score.textContent = `${answered} of ${questions.length} questions answered, ${right} right at the first try`;
  };
  for (const [number, question] of questions.entries()) {
    question.setAttribute("role", "group");
    question.setAttribute("aria-label", `Answers to question ${number + 1}`);
    for (const [place, choice] of [...question.querySelectorAll(".choice")].entries()) {
      const why = choice.nextElementSibling, button = document.createElement("button");
      why.id = `why-${number + 1}-${place + 1}`;
      why.hidden = true;
      button.type = "button";
      button.append(...choice.childNodes);
      button.setAttribute("aria-controls", why.id);
      button.setAttribute("aria-expanded", "false");
      button.addEventListener("click", () => {
        if (!question.dataset.answered) {
          question.dataset.answered = "yes";
          answered += 1;
          right += why.classList.contains("right");
          say();
        }
        why.hidden = !why.hidden;
        button.setAttribute("aria-expanded", String(!why.hidden));
      });
      choice.append(button);
    }
  }
  say();
  document.querySelector(".bd-article").append(score);
});
