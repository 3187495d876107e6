// A proxy that compresses, as development servers put one together: express, compression, http-proxy-middleware.
// usage: node compressing.cjs HUB-URL, in the folder above node_modules. Prints its port.
const { createRequire } = require("module");
const need = createRequire(`${process.cwd()}/`);
const express = need("express");
const compression = need("compression");
const { createProxyMiddleware } = need("http-proxy-middleware");

const app = express();
app.use(compression({ threshold: 0 }));
app.use(createProxyMiddleware({ target: process.argv[2] }));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
