'use strict';
// What user code prints, sent as LOG frames with the id of its call.

const KEPT = 1 << 20; // bytes kept while there is no control connection

let conn;
let idNow = () => '';
let early = [];
let earlySize = 0;
const partial = [undefined, undefined, undefined]; // by stream: {id, text} of a line without an end

function emit(which, id, text) {
  if (text.endsWith('\n')) text = text.slice(0, -1);
  if (conn !== undefined) {
    conn.log(which, id, text);
    return;
  }
  if (earlySize > KEPT) return;
  earlySize += text.length;
  early.push([which, id, text]);
}

function put(which, id, text) {
  const p = partial[which];
  if (p !== undefined) {
    partial[which] = undefined;
    if (p.id === id) text = p.text + text;
    else emit(which, p.id, p.text);
  }
  const at = text.lastIndexOf('\n') + 1;
  if (at > 0) emit(which, id, text.slice(0, at));
  if (at === text.length) return;
  if (text.length - at > 16384) emit(which, id, text.slice(at));
  else partial[which] = { id, text: text.slice(at) };
}

function flush() {
  for (const which of [1, 2]) {
    const p = partial[which];
    partial[which] = undefined;
    if (p !== undefined) emit(which, p.id, p.text);
  }
}

function replace(stream, which) {
  stream.write = function write(chunk, encoding, cb) {
    if (typeof encoding === 'function') cb = encoding;
    put(which, idNow(), typeof chunk === 'string' ? chunk : Buffer.from(chunk).toString());
    if (typeof cb === 'function') process.nextTick(cb);
    return true;
  };
}

module.exports = {
  install() {
    replace(process.stdout, 1);
    replace(process.stderr, 2);
  },
  attribute(fn) { idNow = fn; },
  connect(c) {
    conn = c;
    for (const [which, id, text] of early) c.log(which, id, text);
    early = [];
  },
  error(id, text) { put(2, id, text); },
  flush,
};
