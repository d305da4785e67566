// node.js serve HOST CERTIFICATE KEY: as server.py. node.js ask HOST PORT CONNECTIONS PATH...: as client.py.
const https = require("https"), fs = require("fs");
const [verb, host, ...rest] = process.argv.slice(2);
if (verb === "serve") {
  const options = { cert: fs.readFileSync(rest[0]), key: fs.readFileSync(rest[1]) };
  const server = https.createServer(options, (request, response) => {
    const length = Number(request.url.split("/").pop());
    const content = request.url.repeat(Math.floor(length / request.url.length) + 1).slice(0, length);
    response.setHeader("content-length", length);
    response.end(content);
  });
  server.listen(0, host, () => console.log(server.address().port));
} else {
  const [port, connections, ...paths] = rest;
  for (let number = 0; number < Number(connections); number++) {
    const agent = new https.Agent({ keepAlive: true, maxSockets: 1, rejectUnauthorized: false });
    const next = ([path, ...others]) => {
      if (!path) return agent.destroy();
      https.get({ host, port, agent, path: path.replace("@", number) }, (response) => {
        let length = 0;
        response.on("data", (data) => (length += data.length));
        response.on("end", () => {
          if (length !== Number(path.split("/").pop())) process.exit(1);
          next(others);
        });
      });
    };
    next(paths);
  }
}
