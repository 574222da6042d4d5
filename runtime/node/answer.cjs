'use strict';
// From what a handler returned to a RESPONSE.

const W = require('./wire.cjs');
const { typeBlock } = require('./call.cjs');
const response = require('./response.cjs');

const TEXT = 'text/plain; charset=utf-8', JSON_TYPE = 'application/json', BYTES = 'application/octet-stream';
const TEXT_BLOCK = typeBlock(TEXT), JSON_BLOCK = typeBlock(JSON_TYPE), BYTES_BLOCK = typeBlock(BYTES), NO_BLOCK = typeBlock('');
const hop = new Set(['connection', 'transfer-encoding', 'keep-alive', 'proxy-connection']);
const answerKeys = new Set(['status', 'statusCode', 'statusText', 'headers', 'body', 'trailers']);

// isAnswer tells {status, headers, body} from an object that is the body itself:
// a whole number 100…599 as status or statusCode, and no key beyond the known.
function isAnswer(v) {
  const s = v.status ?? v.statusCode;
  if (!Number.isInteger(s) || s < 100 || s > 599) return false;
  for (const k in v) if (!answerKeys.has(k)) return false;
  return true;
}

function list(headers) {
  const l = [];
  if (headers === undefined || headers === null) return l;
  const each = typeof headers[Symbol.iterator] === 'function' ? headers : Object.entries(headers);
  for (const [k, v] of each) {
    if (v === undefined || v === null) continue;
    const name = String(k).toLowerCase();
    if (hop.has(name)) continue;
    if (Array.isArray(v)) for (const one of v) l.push(name, one);
    else l.push(name, v);
  }
  return l;
}

function hasType(l) {
  for (let i = 0; i < l.length; i += 2) if (l[i] === 'content-type') return true;
  return false;
}

// answer sends v. It throws what the value's own code throws (toJSON, bad
// headers) before anything was sent.
function answer(call, v) {
  if (call.done || call.started) return undefined;
  switch (typeof v) {
    case 'string':
      return call.respond(200, TEXT_BLOCK, v, true);
    case 'undefined':
      return call.respond(204, NO_BLOCK, undefined, true);
    case 'object':
      if (v === null) return call.respond(204, NO_BLOCK, undefined, true);
      if (v[Symbol.toStringTag] === 'Response' && typeof v.arrayBuffer === 'function') return fetched(call, v);
      if (!isPiece(v) && isAnswer(v)) {
        const status = v.status ?? v.statusCode;
        const body = v.body === null ? undefined : v.body;
        return send(call, status, list(v.headers), body, v.trailers);
      }
  }
  return send(call, 200, [], v, undefined);
}

function isPiece(v) { return v instanceof Uint8Array || v instanceof ArrayBuffer || typeof v[Symbol.asyncIterator] === 'function'; }

function streaming(v) {
  if (typeof v[Symbol.asyncIterator] === 'function') return v[Symbol.asyncIterator]();
  // A generator, not an array, map or string object.
  if (typeof v[Symbol.iterator] === 'function' && typeof v.next === 'function') return v[Symbol.iterator]();
  return undefined;
}

// send answers with any kind of body and gives it a content type if it has none.
function send(call, status, headers, body, trailers) {
  let type = '';
  if (body === undefined) body = W.NONE;
  else if (typeof body === 'string') type = TEXT;
  else if (body instanceof Uint8Array) {
    type = BYTES;
    if (!Buffer.isBuffer(body)) body = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  } else if (body instanceof ArrayBuffer) {
    type = BYTES;
    body = Buffer.from(body);
  } else {
    if (typeof body === 'object' && body !== null) {
      if (body[Symbol.toStringTag] === 'Blob') {
        type = body.type;
        body = body.stream();
      }
      const it = streaming(body);
      if (it !== undefined) return pipe(call, status, headers, it, type, trailers);
    }
    const text = JSON.stringify(body);
    if (text === undefined) throw new TypeError(`a handler cannot answer with a ${typeof body}`);
    type = JSON_TYPE;
    body = text;
  }
  const trail = trailers === undefined ? undefined : list(trailers);
  if (headers.length === 0 && trail === undefined) {
    const block = type === JSON_TYPE ? JSON_BLOCK : type === TEXT ? TEXT_BLOCK : type === BYTES ? BYTES_BLOCK : NO_BLOCK;
    return call.respond(status, block, body, true);
  }
  if (type !== '' && !hasType(headers)) headers.push('content-type', type);
  const block = W.writeBlock(headers);
  if (trail === undefined) return call.respond(status, block, body, true);
  W.writeBlock(trail); // its errors belong before the answer begins
  call.respond(status, block, undefined, false);
  return call.end(Buffer.from(body), trail);
}

function bytes(chunk) {
  if (typeof chunk === 'string') return Buffer.from(chunk);
  if (Buffer.isBuffer(chunk)) return chunk;
  if (chunk instanceof Uint8Array) return Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
  if (chunk instanceof ArrayBuffer) return Buffer.from(chunk);
  return Buffer.from(JSON.stringify(chunk) + '\n');
}

// pipe sends what an iterator gives, no faster than the host takes it. The first
// chunk decides the content type where none is given: text, bytes, or a line of
// JSON for each object.
async function pipe(call, status, headers, it, type, trailers) {
  let over = false;
  const stop = () => {
    if (over) return;
    over = true;
    if (typeof it.return === 'function') Promise.resolve(it.return()).catch(() => {});
  };
  const before = call.finished;
  call.finished = (c) => {
    stop();
    if (before !== undefined) before(c);
  };
  try {
    let step = await it.next();
    if (call.done) return;
    if (!hasType(headers)) {
      if (type === '' && !step.done) {
        const v = step.value;
        type = typeof v === 'string' ? TEXT : v instanceof Uint8Array || v instanceof ArrayBuffer ? BYTES : 'application/x-ndjson';
      }
      if (type !== '') headers.push('content-type', type);
    }
    const block = W.writeBlock(headers);
    if (step.done) {
      over = true;
      if (trailers === undefined) call.respond(status, block, undefined, true);
      else {
        call.respond(status, block, undefined, false);
        call.end(undefined, list(trailers));
      }
      return;
    }
    call.respond(status, block, bytes(step.value), false);
    for (;;) {
      const wait = call.drained();
      if (wait !== undefined) await wait;
      if (call.done) return;
      step = await it.next();
      if (step.done) break;
      call.write(bytes(step.value));
    }
    over = true;
    call.end(undefined, trailers === undefined ? undefined : list(trailers));
  } finally {
    stop();
  }
}

// fetched sends a Response object.
function fetched(call, r) {
  const l = response.light(r);
  if (l !== undefined) {
    const headers = list(l.headers);
    if (l.type !== '' && !hasType(headers)) headers.push('content-type', l.type);
    return call.respond(l.status, W.writeBlock(headers), l.body, true);
  }
  r = response.real(r);
  const headers = list(r.headers);
  if (r.bodyUsed) throw new TypeError('the Response was returned after its body was read');
  if (r.body === null) return call.respond(r.status, W.writeBlock(headers), undefined, true);
  return pipe(call, r.status, headers, r.body[Symbol.asyncIterator](), '', undefined);
}

module.exports = { answer, list };
