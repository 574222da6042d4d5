'use strict';
// Frames over one connection: reading without copies, and one write per turn of
// the event loop however many calls answer in it. See ../PROTOCOL.md.

const HELLO = 1, LOAD = 2, LOADED = 3, FAILED = 4, REQUEST = 5, DATA = 6, TRAILERS = 7, RESPONSE = 8,
  CANCEL = 9, WINDOW = 10, PING = 11, PONG = 12, LOG = 13, DRAIN = 14;
const END = 1; // flag
const MAX_PAYLOAD = 1 << 20, MAX_BLOCK = 256 << 10, START_WINDOW = 256 << 10, STEP = 64 << 10;
const SLAB = 64 << 10, COPY = 8 << 10, CUT = 128 << 10;
const LOGS = 16 << 20; // bytes of lines that wait to be read

const nextTick = process.nextTick;
const allocate = Buffer.allocUnsafeSlow;
const NONE = Buffer.alloc(0);

const u16 = (b, o) => (b[o] << 8) | b[o + 1];
const u32 = (b, o) => ((b[o] << 24) | (b[o + 1] << 16) | (b[o + 2] << 8) | b[o + 3]) >>> 0;

class Malformed extends Error {}

// checkBlock walks a header block and returns the offset behind it.
function checkBlock(b, o, end) {
  const start = o;
  if (o + 2 > end) throw new Malformed('header block cut off');
  let n = u16(b, o);
  o += 2;
  while (n-- > 0) {
    if (o + 2 > end) throw new Malformed('header block cut off');
    o += 2 + u16(b, o);
    if (o + 4 > end) throw new Malformed('header block cut off');
    o += 4 + u32(b, o);
    if (o > end) throw new Malformed('header block cut off');
  }
  if (o - start > MAX_BLOCK) throw new Malformed('header block too large');
  return o;
}

// readBlock returns [name, value, name, value …].
function readBlock(b, o) {
  const list = [];
  let n = u16(b, o);
  o += 2;
  while (n-- > 0) {
    let l = u16(b, o);
    o += 2;
    list.push(b.latin1Slice(o, o + l));
    o += l;
    l = u32(b, o);
    o += 4;
    list.push(b.latin1Slice(o, o + l));
    o += l;
  }
  return list;
}

const badName = /[^!#$%&'*+\-.^_`|~0-9a-z]/;
const badValue = /[^\t\x20-\x7e\x80-\xff]/;

// writeBlock encodes [name, value, …]; names become lower case.
function writeBlock(list) {
  let size = 2;
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i] = String(list[i]).toLowerCase();
    let value = list[i + 1] = String(list[i + 1]);
    if (name === '' || badName.test(name)) throw new TypeError(`invalid header name ${JSON.stringify(name)}`);
    if (badValue.test(value)) {
      // Text beyond Latin-1 travels as the bytes of its UTF-8.
      value = list[i + 1] = Buffer.from(value, 'utf8').latin1Slice();
      if (badValue.test(value)) throw new TypeError(`invalid value of header ${name}`);
    }
    size += 6 + name.length + value.length;
  }
  if (size > MAX_BLOCK) throw new TypeError('headers are larger than 256 KiB');
  const b = allocate(size);
  let o = b.writeUInt16BE(list.length >> 1, 0);
  for (let i = 0; i < list.length; i += 2) {
    o = b.writeUInt16BE(list[i].length, o);
    o += b.latin1Write(list[i], o);
    o = b.writeUInt32BE(list[i + 1].length, o);
    o += b.latin1Write(list[i + 1], o);
  }
  return b;
}

function flushConn(c) { c.flush(); }

class Conn {
  // host gets hello, request, load, drain and closed.
  constructor(socket, host, hello) {
    this.socket = socket;
    this.host = host;
    this.calls = new Map();
    this.role = '';
    this.parts = [];
    this.have = 0;
    this.need = 12;
    this.slab = allocate(SLAB);
    this.start = 0;
    this.pos = 0;
    this.queue = [];
    this.scheduled = false;
    this.open = true;
    this.logged = 0; // bytes of lines since the last flush
    this.dropped = 0; // lines left out since the last report
    socket.on('drain', () => this.report());
    socket.on('data', (chunk) => this.read(chunk));
    socket.on('error', () => {});
    socket.on('close', () => this.closed());
    this.json(HELLO, hello);
  }

  closed() {
    if (!this.open) return;
    this.open = false;
    for (const call of [...this.calls.values()]) call.cancelled('the host closed the connection');
    this.calls.clear();
    this.host.closed(this);
  }

  read(chunk) {
    if (this.have > 0) {
      this.parts.push(chunk);
      this.have += chunk.length;
      if (this.have < this.need) return;
      chunk = Buffer.concat(this.parts, this.have);
      this.parts = [];
      this.have = 0;
    }
    const end = chunk.length;
    let o = 0, need = 12;
    try {
      while (end - o >= 12) {
        const n = u32(chunk, o);
        if (n > MAX_PAYLOAD) throw new Malformed('frame too large');
        if (end - o < 12 + n) {
          need = 12 + n;
          break;
        }
        const at = o + 12;
        o = at + n;
        this.frame(u32(chunk, at - 8), chunk[at - 4], chunk[at - 3], chunk, at, o);
        if (!this.open) return;
      }
    } catch (err) {
      if (!(err instanceof Malformed || err instanceof SyntaxError)) throw err;
      this.socket.destroy();
      this.closed();
      return;
    }
    if (o < end) {
      this.parts.push(o > 0 ? chunk.subarray(o) : chunk);
      this.have = end - o;
      this.need = need;
    }
  }

  frame(stream, type, flags, b, o, end) {
    if (this.role === '') {
      if (type !== HELLO) throw new Malformed('no HELLO');
      const hello = JSON.parse(b.utf8Slice(o, end));
      if (!hello || hello.version !== 1) throw new Malformed('unknown version');
      this.role = hello.role === 'control' ? 'control' : 'data';
      this.host.hello(this);
      return;
    }
    switch (type) {
      case REQUEST:
        if (stream === 0 || this.calls.has(stream)) throw new Malformed('stream in use');
        this.host.request(this, stream, flags, b, o, end);
        return;
      case DATA: {
        if (stream === 0) throw new Malformed('DATA without a stream');
        const call = this.calls.get(stream);
        if (call !== undefined) call.received(b, o, end, (flags & END) !== 0);
        return;
      }
      case WINDOW: {
        if (end - o !== 4) throw new Malformed('WINDOW of a wrong length');
        const call = this.calls.get(stream);
        if (call !== undefined) call.granted(u32(b, o));
        return;
      }
      case CANCEL: {
        const call = this.calls.get(stream);
        if (call !== undefined) {
          this.calls.delete(stream);
          call.cancelled(b.utf8Slice(o, end));
        }
        return;
      }
      case TRAILERS: {
        checkBlock(b, o, end);
        const call = this.calls.get(stream);
        if (call !== undefined) {
          call.trailersIn = readBlock(b, o);
          call.received(b, end, end, true);
        }
        return;
      }
      case PING:
        if (end - o !== 8) throw new Malformed('PING of a wrong length');
        this.head(0, PONG, 0, 8);
        this.pos += b.copy(this.slab, this.pos, o, end);
        return;
      case PONG:
        return;
      case LOAD:
        if (this.role !== 'control') throw new Malformed('LOAD on a data connection');
        this.host.load(JSON.parse(b.utf8Slice(o, end)));
        return;
      case DRAIN:
        if (this.role !== 'control') throw new Malformed('DRAIN on a data connection');
        this.host.drain();
        return;
      default:
        if (type < 128) throw new Malformed(`frame of unknown type ${type}`);
    }
  }

  // room makes place for n bytes in the slab and sees to a flush this turn.
  room(n) {
    if (this.pos + n > this.slab.length) {
      this.cut();
      this.slab = allocate(n > SLAB ? n : SLAB);
      this.start = this.pos = 0;
    }
    if (!this.scheduled) {
      this.scheduled = true;
      nextTick(flushConn, this);
    }
  }

  cut() {
    if (this.pos > this.start) this.queue.push(this.slab.subarray(this.start, this.pos));
    this.start = this.pos;
  }

  // head writes a frame header; n payload bytes must follow, of which room is
  // made for the first `inline`.
  head(stream, type, flags, n, inline = n) {
    this.room(12 + inline);
    const s = this.slab;
    let p = this.pos;
    s[p++] = n >>> 24; s[p++] = n >>> 16; s[p++] = n >>> 8; s[p++] = n;
    s[p++] = stream >>> 24; s[p++] = stream >>> 16; s[p++] = stream >>> 8; s[p++] = stream;
    s[p++] = type; s[p++] = flags; s[p++] = 0; s[p++] = 0;
    this.pos = p;
  }

  // bytes appends payload; large pieces are not copied.
  bytes(b) {
    if (b.length <= COPY) {
      this.room(b.length);
      this.slab.set(b, this.pos);
      this.pos += b.length;
    } else {
      this.cut();
      this.queue.push(b);
    }
  }

  json(type, value) {
    const b = Buffer.from(JSON.stringify(value));
    this.head(0, type, 0, b.length);
    this.bytes(b);
  }

  // log sends lines. Nothing holds up code that prints faster than it is read, so
  // what does not fit is left out, and counted.
  log(which, id, text) {
    if (this.logged + this.socket.writableLength > LOGS) {
      this.dropped += text.split('\n').length;
      return;
    }
    this.logged += text.length;
    const i = Buffer.from(id, 'latin1');
    for (let rest = Buffer.from(text); ;) {
      const part = rest.length > CUT ? rest.subarray(0, CUT) : rest;
      this.head(0, LOG, 0, 3 + i.length + part.length, 3 + i.length);
      this.slab[this.pos++] = which;
      this.pos = this.slab.writeUInt16BE(i.length, this.pos);
      this.bytes(i);
      this.bytes(part);
      if (part === rest) return;
      rest = rest.subarray(part.length);
    }
  }

  // report tells of lines that were left out.
  report() {
    if (this.dropped === 0) return;
    const n = this.dropped;
    this.dropped = 0;
    this.log(2, '', `${n} lines were left out here: they came faster than they could be read`);
  }

  flush() {
    this.scheduled = false;
    this.logged = 0;
    if (!this.open) {
      this.queue = [];
      this.start = this.pos = 0;
      return;
    }
    const s = this.socket;
    if (this.queue.length === 0) {
      if (this.pos > this.start) s.write(this.slab.subarray(this.start, this.pos));
    } else {
      this.cut();
      const q = this.queue;
      this.queue = [];
      s.cork();
      for (const b of q) s.write(b);
      s.uncork();
    }
    // The slab may be used again once the kernel has its bytes.
    if (s.writableLength === 0) this.start = this.pos = 0;
    else {
      this.slab = allocate(SLAB);
      this.start = this.pos = 0;
    }
  }
}

module.exports = {
  Conn, Malformed, checkBlock, readBlock, writeBlock, u16, u32, NONE,
  HELLO, LOAD, REQUEST, LOADED, FAILED, DATA, TRAILERS, RESPONSE, CANCEL, WINDOW, END, START_WINDOW, STEP, CUT, MAX_PAYLOAD,
};
