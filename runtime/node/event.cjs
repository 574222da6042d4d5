'use strict';
// What handlers are given: a small class with lazy getters instead of a full
// WHATWG Request, which costs more than the whole rest of a call.

// Headers as own properties (event.headers.accept) and with the methods of the
// Headers class (event.headers.get('Accept')). A header named like a method is
// reachable through get only.
class HeaderBag {
  get(name) {
    const v = Object.prototype.hasOwnProperty.call(this, name = String(name).toLowerCase()) ? this[name] : hidden.get(this)?.[name];
    return v === undefined ? null : v;
  }
  has(name) { return this.get(name) !== null; }
  forEach(fn, self) { for (const [k, v] of this) fn.call(self, v, k, this); }
  getSetCookie() { return []; }
  *keys() { for (const [k] of this) yield k; }
  *values() { for (const [, v] of this) yield v; }
  entries() { return this[Symbol.iterator](); }
  *[Symbol.iterator]() {
    yield* Object.entries(this);
    const h = hidden.get(this);
    if (h !== undefined) yield* Object.entries(h);
  }
}
const hidden = new WeakMap();

function bag(raw) {
  const h = new HeaderBag();
  for (let i = 0; i < raw.length; i += 2) {
    const k = raw[i], v = raw[i + 1];
    let to = h;
    if (k in HeaderBag.prototype) {
      to = hidden.get(h);
      if (to === undefined) hidden.set(h, to = Object.create(null));
    }
    if (Object.prototype.hasOwnProperty.call(to, k)) to[k] += (k === 'cookie' ? '; ' : ', ') + v;
    else to[k] = v;
  }
  return h;
}

function pairs(search) {
  const q = {};
  for (const [k, v] of new URLSearchParams(search)) {
    if (k === '__proto__') continue;
    if (!Object.prototype.hasOwnProperty.call(q, k)) q[k] = v;
    else if (Array.isArray(q[k])) q[k].push(v);
    else q[k] = [q[k], v];
  }
  return q;
}

class ClientError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
    this.expose = true;
  }
}

function parseJSON(text) {
  try {
    return JSON.parse(text);
  } catch (err) {
    throw new ClientError(400, `the request body is not valid JSON: ${err.message}`);
  }
}

// parseBody turns bytes into what their content type says: JSON, a form's
// fields, text, or a Buffer. curl -d says "form" whatever it sends, so a form
// that looks like JSON and parses as such is JSON.
function parseBody(type, bytes) {
  if (bytes.length === 0) return undefined;
  if (type !== undefined) type = type.split(';', 1)[0].trim().toLowerCase();
  if (type === 'application/json' || (type !== undefined && type.endsWith('+json'))) return parseJSON(bytes.utf8Slice());
  if (type === undefined || type === 'application/x-www-form-urlencoded') {
    const c = bytes[0];
    if (c === 0x7b || c === 0x5b || (type === undefined && c === 0x22)) {
      try {
        return JSON.parse(bytes.utf8Slice());
      } catch {}
    }
    return type === undefined ? bytes.utf8Slice() : pairs(bytes.latin1Slice());
  }
  if (type.startsWith('text/') || type === 'application/xml') return bytes.utf8Slice();
  return bytes;
}

const UNSET = Symbol('unset');

// Common is what an event and a Fetch request share.
class Common {
  #call; #headers; #url; #query; #params;
  constructor(call) { this.#call = call; }
  get method() { return this.#call.method; }
  get headers() { return this.#headers ??= bag(this.#call.raw); }
  get url() {
    const c = this.#call;
    return this.#url ??= `${c.scheme || 'http'}://${c.authority || 'localhost'}${c.target}`;
  }
  get path() {
    const t = this.#call.target, i = t.indexOf('?');
    return i < 0 ? t : t.slice(0, i);
  }
  get query() {
    if (this.#query === undefined) {
      const t = this.#call.target, i = t.indexOf('?');
      this.#query = i < 0 ? {} : pairs(t.slice(i + 1));
    }
    return this.#query;
  }
  get params() { return this.#params ??= pairs(this.#call.header('x-hearth-params') ?? ''); }
  get requestId() { return this.#call.id; }
  get remote() { return this.#call.remote; }
  // deadline is when the call must be over, in ms since 1970; undefined: never.
  get deadline() { return this.#call.deadline || undefined; }
  get signal() { return this.#call.signal; }
  get trailers() { return bag(this.#call.trailersIn ?? []); }
  get(name) { return this.headers.get(name) ?? undefined; }
  getRemainingTimeInMillis() { return this.#call.deadline ? Math.max(0, this.#call.deadline - Date.now()) : Infinity; }
}

// Event is the argument of plain functions; its body is complete.
class Event extends Common {
  #call; #bytes; #body = UNSET;
  constructor(call, bytes) {
    super(call);
    this.#call = call;
    this.#bytes = bytes;
  }
  get body() {
    if (this.#body === UNSET) this.#body = parseBody(this.#call.header('content-type'), this.#bytes);
    return this.#body;
  }
  set body(v) { this.#body = v; }
  get rawBody() { return this.#bytes; }
  get request() { return this; }
  async json() { return parseJSON(this.#bytes.utf8Slice()); }
  async text() { return this.#bytes.utf8Slice(); }
  async bytes() { return new Uint8Array(this.#bytes); }
  async arrayBuffer() { return new Uint8Array(this.#bytes).buffer; }
}

// FetchRequest has the interface of Request; body is a stream.
class FetchRequest extends Common {
  #call; #body; #used = false;
  constructor(call) {
    super(call);
    this.#call = call;
  }
  get [Symbol.toStringTag]() { return 'Request'; }
  get bodyUsed() { return this.#used; }
  get redirect() { return 'follow'; }
  get mode() { return 'cors'; }
  get credentials() { return 'same-origin'; }
  get cache() { return 'default'; }
  get destination() { return ''; }
  get integrity() { return ''; }
  get keepalive() { return false; }
  get referrer() { return 'about:client'; }
  get referrerPolicy() { return ''; }
  get duplex() { return 'half'; }
  get body() {
    if (this.#body === undefined) {
      const m = this.method;
      this.#body = m === 'GET' || m === 'HEAD' || this.#used ? null : bodyStream(this.#call);
    }
    return this.#body;
  }
  #all() {
    if (this.#used || (this.#body && this.#body.locked)) return Promise.reject(new TypeError('Body is unusable: it was read before'));
    this.#used = true;
    if (this.#body) {
      return (async () => {
        const got = [];
        for await (const c of this.#body) got.push(c);
        return Buffer.concat(got);
      })();
    }
    const call = this.#call;
    return new Promise((resolve, reject) => call.collect((b) => {
      if (call.gone) reject(new DOMException(call.reason, 'AbortError'));
      else resolve(b);
    }));
  }
  async json() { return JSON.parse((await this.#all()).utf8Slice()); }
  async text() { return (await this.#all()).utf8Slice(); }
  async bytes() { return new Uint8Array(await this.#all()); }
  async arrayBuffer() { return new Uint8Array(await this.#all()).buffer; }
  async blob() { return new Blob([await this.#all()], { type: this.#call.header('content-type') ?? '' }); }
  async formData() {
    return new Response(await this.#all(), { headers: { 'content-type': this.#call.header('content-type') ?? '' } }).formData();
  }
  // clone gives a full Request, for whatever insists on one (fetch, new Request).
  clone() {
    let body = this.body;
    if (body) {
      if (this.#used || body.locked) throw new TypeError('Body is unusable: it was read before');
      [this.#body, body] = body.tee();
    }
    return new Request(this.url, { method: this.method, headers: [...this.headers], body, duplex: 'half', signal: this.signal });
  }
}

// bodyStream is the request's body as a ReadableStream of bytes that takes from
// the host no more than is read.
function bodyStream(call) {
  let wake;
  call.onBody = () => {
    const w = wake;
    wake = undefined;
    if (w !== undefined) w();
  };
  return new ReadableStream({
    type: 'bytes',
    async pull(ctl) {
      while (call.chunks.length === 0 && !call.bodyEnded) await new Promise((resolve) => { wake = resolve; });
      if (call.gone) return ctl.error(new DOMException(call.reason, 'AbortError'));
      const c = call.chunks.shift();
      if (c === undefined) {
        ctl.close();
        ctl.byobRequest?.respond(0);
        return undefined;
      }
      call.took(c.length);
      // The stream may transfer what it gets, so it gets bytes of its own.
      ctl.enqueue(new Uint8Array(c));
      return undefined;
    },
    cancel() {
      for (const c of call.chunks) call.took(c.length);
      call.chunks = [];
      call.onBody = () => {
        for (const c of call.chunks) call.took(c.length);
        call.chunks = [];
      };
    },
  }, { highWaterMark: 0 });
}

// Context is the second argument of (event, context).
class Context {
  #call; #about;
  constructor(call, about) {
    this.#call = call;
    this.#about = about;
  }
  get requestId() { return this.#call.id; }
  get deadline() { return this.#call.deadline || undefined; }
  get signal() { return this.#call.signal; }
  get function() { return this.#about.function; }
  get namespace() { return this.#about.namespace; }
  get revision() { return this.#about.revision; }
  get metadata() { return this.#about.metadata; }
  getRemainingTimeInMillis() { return this.#call.deadline ? Math.max(0, this.#call.deadline - Date.now()) : Infinity; }
}

module.exports = { Event, FetchRequest, Context, ClientError };
