'use strict';
// Goes the way of a start and of first calls without a host, so that V8 has
// compiled what they need; see start.cjs.

const W = require('./wire.cjs');

function frame(stream, type, flags, payload) {
  const head = Buffer.alloc(12);
  head.writeUInt32BE(payload.length, 0);
  head.writeUInt32BE(stream, 4);
  head[8] = type;
  head[9] = flags;
  return Buffer.concat([head, payload]);
}

const json = (type, v) => frame(0, type, 0, Buffer.from(JSON.stringify(v)));

function request(stream) {
  const strings = ['POST', '/?a=b', 'localhost', 'http', '127.0.0.1:1', 'warm'].map((s) => {
    const b = Buffer.alloc(2 + s.length);
    b.writeUInt16BE(s.length, 0);
    b.write(s, 2, 'latin1');
    return b;
  });
  const headers = W.writeBlock(['content-type', 'application/json', 'user-agent', 'warm']);
  return frame(stream, W.REQUEST, W.END, Buffer.concat([Buffer.from([0, 0, 3, 232]), ...strings, headers, Buffer.from('{"a":1}')]));
}

// peer is a socket whose other end is this file.
function peer(accept) {
  const handlers = {};
  let seen;
  const socket = {
    writableLength: 0,
    on(name, fn) { handlers[name] = fn; },
    write(b) { if (seen !== undefined) seen(b); return true; },
    cork() {}, uncork() {}, destroy() {}, end() {},
  };
  accept(socket);
  // ask sends a frame and waits for the next that comes.
  return (sent) => new Promise((resolve) => {
    seen = resolve;
    handlers.data(sent);
  });
}

module.exports = async (accept, dir) => {
  const control = peer(accept);
  await control(json(W.HELLO, { version: 1, role: 'control' }));
  for (let i = 1; i < 6; i += 2) await control(request(i));
  await control(json(W.LOAD, { code: dir, handler: '', concurrency: 1, env: {}, metadata: {} }));
  const data = peer(accept);
  await data(json(W.HELLO, { version: 1, role: 'data' }));
  for (let i = 1; i < 6; i += 2) await data(request(i));
};
