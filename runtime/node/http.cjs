'use strict';
// Node's own shapes: (req, res) with a real IncomingMessage and ServerResponse,
// so that Express, Koa and friends work, and upgrades over a Duplex.

const { Duplex } = require('stream');
const W = require('./wire.cjs');
const { list } = require('./answer.cjs');

// peer stands for the connection, where frameworks look for an address.
function peer(call) {
  const r = call.remote, i = r.lastIndexOf(':');
  const address = (i < 0 ? r : r.slice(0, i)).replace(/^\[|\]$/g, '');
  return {
    remoteAddress: address || undefined,
    remotePort: i < 0 ? undefined : Number(r.slice(i + 1)) || undefined,
    remoteFamily: address.includes(':') ? 'IPv6' : 'IPv4',
    encrypted: call.scheme === 'https', readable: true, writable: true, destroyed: false,
    on() { return this; }, once() { return this; }, off() { return this; }, removeListener() { return this; },
    emit() { return false; }, setTimeout() { return this; }, setNoDelay() { return this; }, setKeepAlive() { return this; },
    ref() { return this; }, unref() { return this; }, destroy() {}, end() {}, cork() {}, uncork() {}, pause() {}, resume() {},
    address() { return {}; },
  };
}

function message(call, socket) {
  const req = new (require('http').IncomingMessage)(socket);
  req.method = call.method;
  req.url = call.target;
  req.httpVersion = '1.1';
  req.httpVersionMajor = 1;
  req.httpVersionMinor = 1;
  const raw = call.raw.slice();
  if (call.header('host') === undefined) raw.unshift('host', call.authority);
  if (call.header('content-length') === undefined) {
    // How HTTP/1.1 says that there is a body; parsers look for it.
    if (!call.bodyEnded) raw.push('transfer-encoding', 'chunked');
    else if (call.chunks.length > 0) raw.push('content-length', String(call.chunks.reduce((n, c) => n + c.length, 0)));
  }
  req._addHeaderLines(raw, raw.length);
  Object.defineProperty(req, 'requestId', { value: call.id, configurable: true });
  Object.defineProperty(req, 'signal', { get: () => call.signal, configurable: true });
  return req;
}

// feed connects a Readable to the body of the call.
function feed(call, stream, ended) {
  let wants = false;
  const more = () => {
    while (wants && call.chunks.length > 0) {
      const c = call.chunks.shift();
      call.took(c.length);
      wants = stream.push(c);
    }
    if (call.gone) {
      if (!stream.destroyed && !stream.readableEnded) {
        const err = new Error('aborted');
        err.code = 'ECONNRESET';
        stream.aborted = true;
        stream.destroy(stream.listenerCount('error') > 0 ? err : undefined);
      }
    } else if (wants && call.bodyEnded) {
      wants = false;
      ended();
      stream.push(null);
    }
  };
  stream._read = () => {
    wants = true;
    more();
  };
  call.onBody = more;
}

// handle calls fn(req, res). failed gets what a handler of three parameters
// passes to next.
function handle(call, fn, failed) {
  const socket = peer(call);
  const req = message(call, socket);
  feed(call, req, () => {
    const t = call.trailersIn;
    if (t !== undefined) {
      req.rawTrailers = t;
      for (let i = 0; i < t.length; i += 2) req.trailers[t[i]] = t[i + 1];
    }
    req.complete = true;
  });
  const res = new (require('http').ServerResponse)(req);
  res.sendDate = false;
  respondWith(call, res, socket);
  // An Express application answers 404 and errors itself when it has no next.
  if (typeof fn.handle === 'function') return fn(req, res);
  return fn(req, res, (err) => {
    if (err) failed(call, err);
    else if (!res.headersSent) {
      res.statusCode = 404;
      res.end();
    }
  });
}

// respondWith sends what is written to res as frames. The methods are the
// object's own, so they stay when a framework changes its prototype.
function respondWith(call, res, socket) {
  const before = call.finished;
  call.finished = (c) => {
    if (before !== undefined) before(c);
    socket.destroyed = true;
    process.nextTick(() => {
      res.destroyed = true;
      if (!c.gone) res.emit('finish');
      res.emit('close');
    });
  };
  call.onDrain = () => res.emit('drain');
  res.socket = socket;
  res.connection = socket;
  let trailers;
  const begin = () => {
    if (res._header) return;
    res._header = ' '; // says "sent" to the rest of the class
  };
  res.writeHead = function writeHead(status, reason, headers) {
    if (res._header) {
      const err = new Error('Cannot write headers after they are sent to the client');
      err.code = 'ERR_HTTP_HEADERS_SENT';
      throw err;
    }
    if (typeof reason !== 'string') headers = reason;
    else res.statusMessage = reason;
    status |= 0;
    if (status < 100 || status > 999) throw new RangeError(`Invalid status code: ${status}`);
    res.statusCode = status;
    if (Array.isArray(headers)) {
      if (Array.isArray(headers[0])) for (const [k, v] of headers) res.setHeader(k, v);
      else for (let i = 0; i < headers.length; i += 2) res.setHeader(headers[i], headers[i + 1]);
    } else if (headers) for (const k of Object.keys(headers)) if (headers[k] !== undefined) res.setHeader(k, headers[k]);
    return res;
  };
  let sent = false;
  const head = (body, last) => {
    sent = true;
    const block = W.writeBlock(list(res.getHeaders()));
    begin();
    call.respond(res.statusCode, block, body, last);
  };
  const bytes = (chunk, encoding) => (typeof chunk === 'string' ? Buffer.from(chunk, encoding) : Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk));
  res._implicitHeader = () => res.writeHead(res.statusCode);
  res.flushHeaders = () => {
    if (sent) return;
    res._implicitHeader();
    head(undefined, false);
  };
  res.write = function write(chunk, encoding, cb) {
    if (typeof encoding === 'function') [cb, encoding] = [encoding, undefined];
    if (res.finished) {
      const err = new Error('write after end');
      err.code = 'ERR_STREAM_WRITE_AFTER_END';
      process.nextTick(() => { if (cb) cb(err); res.emit('error', err); });
      return false;
    }
    if (chunk === null || (typeof chunk !== 'string' && !(chunk instanceof Uint8Array))) {
      const err = new TypeError('The "chunk" argument must be of type string or an instance of Buffer or Uint8Array');
      err.code = chunk === null ? 'ERR_STREAM_NULL_VALUES' : 'ERR_INVALID_ARG_TYPE';
      throw err;
    }
    if (!sent) {
      // Through the object, so that middleware which wraps writeHead is asked.
      res.writeHead(res.statusCode);
      head(bytes(chunk, encoding), false);
    } else call.write(bytes(chunk, encoding));
    if (cb) process.nextTick(cb);
    return call.backlog.length === 0;
  };
  res.end = function end(chunk, encoding, cb) {
    if (typeof chunk === 'function') [cb, chunk] = [chunk, undefined];
    else if (typeof encoding === 'function') [cb, encoding] = [encoding, undefined];
    if (res.finished) {
      if (cb) process.nextTick(cb);
      return res;
    }
    if (cb) res.once('finish', cb);
    const body = chunk === undefined || chunk === null ? undefined : bytes(chunk, encoding);
    if (!sent) {
      res.writeHead(res.statusCode);
      res.finished = true;
      if (trailers === undefined) head(body, true);
      else {
        head(undefined, false);
        call.end(body, trailers);
      }
    } else {
      res.finished = true;
      call.end(body, trailers);
    }
    return res;
  };
  res.addTrailers = (h) => { trailers = list(h); };
  res.writeContinue = (cb) => { if (cb) cb(); };
  res.writeProcessing = () => {};
  res.writeEarlyHints = (hints, cb) => {
    call.respond(103, W.writeBlock(list(hints)), undefined, false);
    if (cb) cb();
  };
  res.destroy = function destroy(err) {
    if (!call.done) call.break(err ? String(err.message) : 'the handler destroyed its response');
    return res;
  };
}

// RawSocket is what an upgrade handler writes its own HTTP head to.
class RawSocket extends Duplex {
  constructor(call) {
    super({ allowHalfOpen: true });
    this.call = call;
    this.headBytes = [];
    this.headSent = false;
    const before = call.finished;
    call.finished = (c) => {
      if (before !== undefined) before(c);
      if (c.gone) this.destroy();
    };
    Object.assign(this, { remoteAddress: peer(call).remoteAddress, encrypted: call.scheme === 'https' });
    feed(call, this, () => {});
  }
  setTimeout() { return this; }
  setNoDelay() { return this; }
  setKeepAlive() { return this; }
  ref() { return this; }
  unref() { return this; }
  _write(chunk, encoding, cb) {
    if (!this.headSent) {
      this.headBytes.push(chunk);
      const all = Buffer.concat(this.headBytes);
      const at = all.indexOf('\r\n\r\n');
      if (at < 0) {
        if (all.length > 65536) cb(new Error('no end of the response head'));
        else cb();
        return;
      }
      this.headSent = true;
      const lines = all.latin1Slice(0, at).split('\r\n');
      const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(lines[0])?.[1]);
      if (!status) {
        cb(new Error('an upgrade handler must first write a response head'));
        return;
      }
      const headers = [];
      for (const l of lines.slice(1)) {
        const i = l.indexOf(':');
        const name = l.slice(0, i).trim().toLowerCase();
        if (status === 101 || (name !== 'connection' && name !== 'transfer-encoding')) headers.push(name, l.slice(i + 1).trim());
      }
      this.call.respond(status, W.writeBlock(headers), undefined, false);
      chunk = all.subarray(at + 4);
    }
    if (this.call.write(chunk)) cb();
    else this.call.drained().then(() => cb());
  }
  _final(cb) {
    this.call.end();
    cb();
  }
  _destroy(err, cb) {
    if (!this.call.done) {
      if (this.headSent && !err) this.call.end();
      else this.call.break(err ? err.message : 'the upgrade was refused');
    }
    cb(err);
  }
}

function upgrade(call, fn) {
  const socket = new RawSocket(call);
  // Nobody listening for errors of a lost client is no reason to crash.
  socket.on('error', () => {});
  return fn(message(call, socket), socket, Buffer.alloc(0));
}

module.exports = { handle, upgrade };
