'use strict';
// What user code prints, sent as LOG frames with the id of its call.

const KEPT = 1 << 20; // bytes kept while there is no control connection

let conn;
let idNow = () => '';
let early = [];
let earlySize = 0;
const partial = new Map(); // stream and id -> text of a line without an end

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
  const key = which + id;
  const before = partial.get(key);
  if (before !== undefined) {
    partial.delete(key);
    text = before + text;
  }
  let at = text.lastIndexOf('\n') + 1;
  if (text.length - at > 16384) at = text.length;
  if (at > 0) emit(which, id, at === text.length ? text : text.slice(0, at));
  if (at < text.length) partial.set(key, text.slice(at));
}

// flush sends lines without an end: of one call, or all.
function flush(id) {
  if (partial.size === 0) return;
  for (const [key, text] of partial) {
    if (id !== undefined && key.slice(1) !== id) continue;
    partial.delete(key);
    emit(Number(key[0]), key.slice(1), text);
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
