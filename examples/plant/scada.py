"""The plant's SCADA: an OPC UA client that sees the station's states and every result, as OPC 40100-1 has them.

    python scada.py PORT USER PASSWORD_FILE CERTIFICATE KEY LOG

One JSON line an event: {"state": "ContinuousExecution"} or {"result": ID, "part": PART, "message": "…"}.
"""

import asyncio
import json
import logging
import sys
from pathlib import Path

from asyncua import Client, ua
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256

MODEL = "http://opcfoundation.org/UA/MachineVision"
URI = "urn:plant:scada"  # stands in the certificate, too
RESULT_READY, STATE_CHANGED = 1024, 1018  # event types of the model


class Log:
    """Writes what the server tells. Called by asyncua."""

    def __init__(self, file):
        self.file = file

    def event_notification(self, event) -> None:
        if event.EventType.Identifier == STATE_CHANGED:
            said = {"state": event.ToState.Text}
        else:
            said = {"result": id_of(event.ResultId), "part": id_of(event.PartId), "message": event.Message.Text}
        self.file.write(json.dumps(said) + "\n")


def id_of(structure) -> str:
    """The Id, a string, that is the first field of ResultIdDataType and PartIdDataType, as OPC UA encodes it.

    asyncua 2.1 can not load the model's definitions (load_data_type_definitions fails at structures that only inherit),
    so structures come as bytes: a length of four bytes, and so many of UTF-8.
    """
    size = int.from_bytes(structure.Body[:4], "little")
    return structure.Body[4 : 4 + size].decode()


async def main(port: int, user: str, password: Path, certificate: str, key: str, log: str) -> None:
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # it reports at length that the line has ended
    with open(log, "a", buffering=1) as file:
        while True:  # until the line is there
            client = Client(f"opc.tcp://127.0.0.1:{port}/lineside", timeout=20)
            client.application_uri = URI
            client.set_user(user)
            client.set_password(password.read_text().strip())
            try:
                await client.set_security(SecurityPolicyBasic256Sha256, certificate, key)
                await client.connect()
                break
            except (TimeoutError, OSError, ua.UaError):
                await asyncio.sleep(0.5)
        space = await client.get_namespace_index(MODEL)
        objects = {(await node.read_browse_name()).Name: node for node in await client.nodes.objects.get_children()}
        system = objects["VisionSystem"]
        subscription = await client.create_subscription(50, Log(file))
        await subscription.subscribe_events(
            system, evtypes=[ua.NodeId(STATE_CHANGED, space), ua.NodeId(RESULT_READY, space)]
        )
        print("listening", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:7]))
