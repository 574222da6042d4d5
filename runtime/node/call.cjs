'use strict';
// One call: its head decoded on demand, its body in, its answer out, both with
// flow control.

const W = require('./wire.cjs');
const { Malformed, u16, u32, END } = W;

const blocks = new Map(); // content type -> encoded header block
function typeBlock(type) {
  let b = blocks.get(type);
  if (b === undefined) {
    b = W.writeBlock(type === '' ? [] : ['content-type', type]);
    if (blocks.size < 64) blocks.set(type, b);
  }
  return b;
}

class Call {
  constructor(conn, stream, flags, b, o, end) {
    this.conn = conn;
    this.stream = stream;
    this.buf = b;
    if (o + 4 > end) throw new Malformed('call head cut off');
    const ms = u32(b, o);
    this.deadline = ms > 0 ? Date.now() + ms : 0; // ms since 1970; 0: none
    this.at = o += 4;
    for (let i = 0; i < 6; i++) {
      if (o + 2 > end) throw new Malformed('call head cut off');
      o += 2 + u16(b, o);
      if (o > end) throw new Malformed('call head cut off');
    }
    this.block = o;
    this.strings = undefined;
    this.rawList = undefined;
    this.idText = undefined;
    o = W.checkBlock(b, o, end);

    this.bodyEnded = false; // all of the body is here
    this.chunks = [];       // received and not taken yet
    this.recvLeft = W.START_WINDOW;
    this.unacked = 0;
    this.onBody = undefined; // called when chunks or the end arrive
    this.trailersIn = undefined;

    this.sendLeft = W.START_WINDOW;
    this.backlog = [];
    this.endAfter = undefined; // what ends the answer once the backlog is gone
    this.onDrain = undefined;
    this.started = false; // a final RESPONSE was sent
    this.done = false;    // the answer is complete, failed or cancelled
    this.gone = false;    // the host has no use for this call any more
    this.finished = undefined; // told once when done
    this.abort = undefined;
    this.reason = undefined;
    this.timer = undefined;
    this.received(b, o, end, (flags & END) !== 0);
  }

  head(i) {
    if (this.strings === undefined) {
      const b = this.buf;
      let o = this.at;
      this.strings = new Array(6);
      for (let k = 0; k < 6; k++) {
        const n = u16(b, o);
        o += 2;
        this.strings[k] = b.latin1Slice(o, o + n);
        o += n;
      }
    }
    return this.strings[i];
  }

  get method() { return this.head(0); }
  get target() { return this.head(1); }
  get authority() { return this.head(2); }
  get scheme() { return this.head(3); }
  get remote() { return this.head(4); }
  get id() { return this.head(5); }

  // raw is [name, value, …].
  get raw() {
    if (this.rawList === undefined) this.rawList = W.readBlock(this.buf, this.block);
    return this.rawList;
  }

  header(name) {
    const r = this.raw;
    for (let i = 0; i < r.length; i += 2) if (r[i] === name) return r[i + 1];
    return undefined;
  }

  // --- the body that comes in

  received(b, o, end, last) {
    if (this.bodyEnded) throw new Malformed('body after its end');
    const n = end - o;
    if (n > 0) {
      this.recvLeft -= n;
      if (this.recvLeft < 0) throw new Malformed('window exceeded');
      if (this.done) this.took(n); // nobody reads it; let the rest come and go
      else this.chunks.push(b.subarray(o, end));
    }
    if (last) {
      this.bodyEnded = true;
      if (this.done) this.forget();
    }
    if (this.onBody !== undefined && (n > 0 || last)) this.onBody();
  }

  // took says that n body bytes were consumed.
  took(n) {
    this.unacked += n;
    if (this.bodyEnded || this.gone || !this.conn.open) return;
    if (this.unacked < W.STEP && this.recvLeft > 0) return;
    const c = this.conn;
    c.head(this.stream, W.WINDOW, 0, 4);
    c.pos = c.slab.writeUInt32BE(this.unacked, c.pos);
    this.recvLeft += this.unacked;
    this.unacked = 0;
  }

  // collect calls then(bytes) once the whole body is here.
  collect(then) {
    const got = [];
    let size = 0;
    const more = () => {
      for (const c of this.chunks) {
        got.push(c);
        size += c.length;
        this.took(c.length);
      }
      this.chunks = [];
      if (!this.bodyEnded) return;
      this.onBody = undefined;
      if (this.gone) return then(W.NONE); // what came of it is of no use
      then(got.length === 1 ? got[0] : got.length === 0 ? W.NONE : Buffer.concat(got, size));
    };
    this.onBody = more;
    more();
  }

  // --- the answer that goes out

  // respond sends status and headers (an encoded block) and the body's first
  // bytes, or the whole of it with last.
  respond(status, block, body, last) {
    if (this.done || !this.conn.open) return;
    this.started = status >= 200 || status === 101;
    const c = this.conn, fixed = 2 + block.length;
    if (typeof body === 'string') {
      // Most answers are short text: straight into the slab.
      const room = body.length * 3;
      if (room <= 16384) {
        c.room(12 + fixed + room);
        const at = c.pos;
        const n = c.slab.utf8Write(body, at + 12 + fixed);
        if (n <= this.sendLeft) {
          this.sendLeft -= n;
          c.head(this.stream, W.RESPONSE, last ? END : 0, fixed + n);
          c.slab[c.pos++] = status >> 8;
          c.slab[c.pos++] = status;
          c.slab.set(block, c.pos);
          c.pos = at + 12 + fixed + n;
          if (last) this.finish();
          return;
        }
      }
      body = Buffer.from(body);
    }
    const n = body === undefined ? 0 : body.length;
    const whole = n <= this.sendLeft && n <= W.CUT;
    c.head(this.stream, W.RESPONSE, whole && last ? END : 0, fixed + (whole ? n : 0), fixed);
    c.slab[c.pos++] = status >> 8;
    c.slab[c.pos++] = status;
    c.bytes(block);
    if (whole) {
      if (n > 0) c.bytes(body);
      this.sendLeft -= n;
      if (last) this.finish();
    } else if (last) this.end(body);
    else this.write(body);
  }

  // write sends body bytes, or keeps them until the host grants more. False
  // means: wait for onDrain before writing more.
  write(b) {
    if (this.done) return true;
    if (b.length === 0) return this.backlog.length === 0;
    if (this.backlog.length > 0) {
      this.backlog.push(b);
      return false;
    }
    const rest = this.send(b, undefined);
    if (rest === undefined) return true;
    this.backlog.push(rest);
    return false;
  }

  // send writes as much of b as the window allows and returns the rest.
  send(b, last) {
    while (this.sendLeft > 0) {
      const n = Math.min(b.length, this.sendLeft, W.CUT);
      const all = n === b.length;
      this.sendLeft -= n;
      this.conn.head(this.stream, W.DATA, all && last === END ? END : 0, n, 0);
      this.conn.bytes(all ? b : b.subarray(0, n));
      if (all) return undefined;
      b = b.subarray(n);
    }
    return b;
  }

  // end completes the answer; trailers is [name, value, …].
  end(b, trailers) {
    if (this.done) return;
    if (b !== undefined && b.length > 0 && !this.write(b)) {
      this.endAfter = trailers || END;
      return;
    }
    if (this.backlog.length > 0) {
      this.endAfter = trailers || END;
      return;
    }
    this.last(trailers);
  }

  last(trailers) {
    const c = this.conn;
    if (Array.isArray(trailers) && trailers.length > 0) {
      const block = W.writeBlock(trailers);
      c.head(this.stream, W.TRAILERS, END, block.length, 0);
      c.bytes(block);
    } else c.head(this.stream, W.DATA, END, 0);
    this.finish();
  }

  granted(n) {
    this.sendLeft += n;
    while (this.backlog.length > 0 && this.sendLeft > 0) {
      const rest = this.send(this.backlog[0], undefined);
      if (rest !== undefined) {
        this.backlog[0] = rest;
        return;
      }
      this.backlog.shift();
    }
    if (this.backlog.length > 0) return;
    if (this.endAfter !== undefined) {
      if (!this.done) this.last(this.endAfter);
    } else if (this.onDrain !== undefined) this.onDrain();
  }

  // drained resolves when more may be written.
  drained() {
    if (this.done || this.backlog.length === 0) return undefined;
    return new Promise((resolve) => {
      this.onDrain = () => {
        this.onDrain = undefined;
        resolve();
      };
    });
  }

  // text answers with a whole body of one content type.
  text(status, type, body) { this.respond(status, typeBlock(type), body, true); }

  // break ends a call that failed after its RESPONSE began.
  break(reason) {
    if (this.done || this.gone || !this.conn.open) return;
    const b = Buffer.from(reason.slice(0, 200));
    this.conn.head(this.stream, W.CANCEL, 0, b.length);
    this.conn.bytes(b);
    this.conn.calls.delete(this.stream);
    this.gone = true;
    this.finish();
  }

  finish() {
    if (this.done) return;
    this.done = true;
    this.backlog = [];
    if (this.timer !== undefined) clearTimeout(this.timer);
    for (const c of this.chunks) this.took(c.length);
    this.chunks = [];
    if (this.bodyEnded) this.forget();
    const f = this.finished, d = this.onDrain;
    this.finished = this.onDrain = undefined;
    if (d !== undefined) d();
    if (f !== undefined) f(this);
  }

  forget() { this.conn.calls.delete(this.stream); }

  cancelled(reason) {
    this.gone = true;
    this.bodyEnded = true;
    this.reason = reason || 'cancelled';
    if (this.abort !== undefined && !this.abort.signal.aborted) this.abort.abort(cancelError(this.reason));
    const f = this.onBody;
    this.finish();
    if (f !== undefined) f();
  }

  // signal is aborted when the host cancels or the deadline passes. It costs a
  // timer, so it is made when asked for.
  get signal() {
    if (this.abort === undefined) {
      this.abort = new AbortController();
      if (this.reason !== undefined) this.abort.abort(cancelError(this.reason));
      else if (this.deadline > 0 && !this.done) {
        this.timer = setTimeout(() => {
          if (!this.abort.signal.aborted) this.abort.abort(new DOMException('the deadline has passed', 'TimeoutError'));
        }, Math.max(0, this.deadline - Date.now()));
        this.timer.unref();
      }
    }
    return this.abort.signal;
  }
}

function cancelError(reason) { return new DOMException(reason, 'AbortError'); }

module.exports = { Call, typeBlock };
