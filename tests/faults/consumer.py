"""A plant's consumer in a process of its own: it keeps a result in a file, then acknowledges it. It may be killed.

    python -m tests.faults.consumer PORT TOPIC FILE [seconds that each result takes]

Says "ready" when it has subscribed. FILE: one JSON object per arrival, in order; what came twice is there twice.
"""

import json
import sys
import threading
import time


def main(port: str, topic: str, path: str, slow_s: str = "0") -> None:
    import paho.mqtt.client as mqtt

    with open(path, "a", buffering=1) as file:

        def heard(client, userdata, message):
            found = json.loads(message.payload)
            time.sleep(float(slow_s))
            lineside = found["lineside"]
            kept = {"id": found["ResultMetaData"]["ResultId"]}
            file.write(json.dumps(kept | {k: lineside[k] for k in ("number", "run_id", "sequence", "verdict")}) + "\n")
            client.publish(f"{topic}/ack", kept["id"], qos=1)

        client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, f"consumer-{port}", clean_session=False)
        client.reconnect_delay_set(1, 1)
        client.on_connect = lambda client, *_: client.subscribe(f"{topic}/result", 1)
        client.on_subscribe = lambda *_: print("ready", flush=True)
        client.on_message = heard
        client.connect_async("127.0.0.1", int(port))
        client.loop_start()
        threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
