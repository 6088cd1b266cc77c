"""A loopback Messages server: real HTTP and SSE, as strict as the API, playing any fault on request.

    with MessagesServer(policy) as server:
        client = AsyncAnthropic(base_url=server.url, api_key="any")

`rules` refuses what the API would refuse, `cache` accounts for prefixes, `faults` breaks replies,
`policies` decide what is answered.
"""

from messages_server.faults import Fault
from messages_server.reply import Reply, say, think, use
from messages_server.server import MessagesServer, Seen

__all__ = ["Fault", "MessagesServer", "Reply", "Seen", "say", "think", "use"]
