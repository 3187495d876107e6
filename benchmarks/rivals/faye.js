'use strict';
// Faye's own Node server with its own defaults: node faye.js PORT
const http = require('http');
const faye = require('faye');

const server = http.createServer((request, response) => {
  response.writeHead(404);
  response.end();
});
new faye.NodeAdapter({mount: '/bayeux', timeout: 45}).attach(server);
server.listen({port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096});
