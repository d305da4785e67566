"""Asks many things over many connections at once: client.py HOST PORT CONNECTIONS PATH...

Prints one word after the connections stand, and waits for a line, if the first path is `wait`.
"""
import http.client, ssl, sys, threading

host, port, connections, *paths = sys.argv[1:]
context = ssl._create_unverified_context()
together = threading.Barrier(int(connections))


def one(number):
    connection = http.client.HTTPSConnection(host, int(port), context=context)
    connection.connect()
    together.wait()
    for path in paths:
        if path == "wait":
            print("connected", flush=True)
            sys.stdin.readline()
            continue
        path = path.replace("@", str(number))
        connection.request("GET", path)
        content = connection.getresponse().read()
        assert len(content) == int(path.rsplit("/", 1)[1])
    connection.close()


threads = [threading.Thread(target=one, args=(number,)) for number in range(int(connections))]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
