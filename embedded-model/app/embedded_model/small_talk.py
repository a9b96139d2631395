"""What the model says about itself, and where it says that it is no language model."""

from typing import assert_never

from embedded_model.intents import Courtesy

SWITCH_COMMAND = "LLM_BASE_URL=http://localhost:11434/v1 make local"

OUT_OF_SCOPE = (
    "I am the embedded command model, no language model, so I can't help with that; "
    "I understand English only. "
    f"To talk to a real one, start the stack with: `{SWITCH_COMMAND}`"
)
PARTLY_OUT_OF_SCOPE = (
    f"The rest needs a real language model, which I am not; to switch to one: `{SWITCH_COMMAND}`"
)
ABILITIES = (
    "I can tell the time here, in a city or a time zone, convert times, run Python code, "
    "calculate, answer questions about dates, plot functions and data, and install or list "
    "packages. Try: 'what is 17*23?', 'time in Tokyo and London', or paste some Python code."
)


def courtesy_answer(courtesy: Courtesy) -> str:  # noqa: PLR0911  # one return a case
    """Return the answer to small talk."""
    match courtesy:
        case "greeting":
            return f"Hello! What can I do for you? {ABILITIES}"
        case "thanks":
            return "You are welcome."
        case "farewell":
            return "Goodbye!"
        case "mood":
            return "All is well here, thank you. What can I do for you?"
        case "acknowledgement":
            return "All right. Tell me when there is something to do."
        case "identity":
            return (
                "I am the embedded command model of this stack: no language model, but a program "
                "that turns plain requests into tool calls. "
                f"To switch to a real language model: `{SWITCH_COMMAND}`"
            )
        case "abilities":
            return ABILITIES
        case never:
            assert_never(never)
