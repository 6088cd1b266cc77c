"""Operators that live with a reaper: the scripted one, and the agent with its real tools against a loopback model."""

import reaper
import scripted_operator
from messages_server import Reply, say, think, use

from engine.operators import Operator, agent
from engine.session import Session


def scripted(session: Session) -> scripted_operator.Scripted:
    """The scripted operator."""
    reaper.start(session)
    return scripted_operator.create(session)


def model(session: Session) -> Operator:
    """The agent."""
    reaper.start(session)
    return agent.create(session)


class Climber:
    """A model that climbs: each reply writes, evaluates, submits and runs a command; its words fill the window."""

    def __init__(self) -> None:
        self.replies = 0

    def __call__(self, body: dict) -> Reply:
        """The reply to one request."""
        last = body["messages"][-1]["content"]
        if any("<handoff_request>" in b.get("text", "") for b in last if isinstance(b, dict)):
            return Reply([say("I was making it faster. " * 40)])
        if not body.get("tools"):
            return Reply([say('{"diagnosis": "it is stuck", "directions": []}')])
        self.replies += 1
        n = self.replies
        text = f"// speed: {1 + n * 0.2:.2f}\n// build: 0.03\n// time: 0.03\n// turn {n}\n"
        calls = [
            use("write", path="attention.cpp", content=text),
            use("evaluate", suite="quick", hypothesis="it is faster"),
            use("submit", message=f"step {n}", hypothesis="it is faster"),
            use("shell", command="sleep 0.1 & echo here; wait; seq 400"),
        ]
        return Reply([think("so"), say("The next step. " * 500), *(calls if n % 2 else calls[:2])])
