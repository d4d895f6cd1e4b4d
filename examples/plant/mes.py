"""The plant's MES: takes results by MQTT, keeps each in a file, and only then acknowledges it.

    python mes.py PORT USER PASSWORD_FILE TOPIC FILE

That order is what makes the line's outbox safe: what is acknowledged is kept. A result that comes again (a broker was
killed, an acknowledgement was lost) is acknowledged again and kept once.
"""

import json
import sys
from pathlib import Path

import paho.mqtt.client as mqtt


def main(port: int, user: str, password: Path, topic: str, kept: Path) -> None:
    ids = {json.loads(line)["ResultMetaData"]["ResultId"] for line in kept.open()} if kept.exists() else set()
    file = kept.open("a", buffering=1)

    def connected(client: mqtt.Client, *_: object) -> None:
        client.subscribe(f"{topic}/result", qos=1)
        print("listening", flush=True)

    def heard(client: mqtt.Client, _: object, message: mqtt.MQTTMessage) -> None:
        result = json.loads(message.payload)
        id_ = result["ResultMetaData"]["ResultId"]
        if id_ not in ids:
            ids.add(id_)
            file.write(json.dumps(result) + "\n")
        client.publish(f"{topic}/ack", id_, qos=1)

    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "mes", clean_session=False)
    client.username_pw_set(user, password.read_text().strip())
    client.on_connect, client.on_message = connected, heard
    client.connect("127.0.0.1", port)
    client.loop_forever()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4], Path(sys.argv[5]))
