'use strict';
// A Response that becomes a full one only when somebody looks into it: most are
// made, returned and sent, and the full one costs ten times as much as all else.

const plain = (b) => b === undefined || b === null || typeof b === 'string' || b instanceof Uint8Array;

let light = () => undefined;
let real = (v) => v;

// make makes the class. Even to mention Node's own costs 20 ms, nearly as much as
// all else of a start, so nobody does before somebody wants one.
function make() {
  const Native = native();

  class Response {
    #body; #init; #native;

    constructor(body, init) {
      const status = init === undefined || init === null ? 200 : init.status ?? 200;
      if (!plain(body) || !Number.isInteger(status) || status < 200 || status > 599 || (body != null && (status === 204 || status === 205 || status === 304))) {
        this.#native = new Native(body, init); // or its error
        return;
      }
      this.#body = body ?? undefined;
      this.#init = init ?? undefined;
    }

    static [Symbol.hasInstance](v) { return v instanceof Native; }
    static json(data, init) {
      const text = JSON.stringify(data);
      if (text === undefined) return Native.json(data, init);
      const headers = new Map(Object.entries({ 'content-type': 'application/json' }));
      for (const [k, v] of pairs(init?.headers)) headers.set(String(k).toLowerCase(), v);
      return new Response(text, { ...init, status: init?.status, headers: [...headers] });
    }

    // light gives what was passed to the constructor of a Response nobody looked
    // into: {status, headers, body, type}.
    static light(v) {
      if (!(#body in v) || v.#native !== undefined) return undefined;
      return {
        status: v.#init?.status ?? 200,
        headers: pairs(v.#init?.headers),
        body: v.#body,
        type: typeof v.#body === 'string' ? 'text/plain;charset=UTF-8' : '',
      };
    }
    // real gives the full Response behind v.
    static real(v) { return #body in v ? v.#full : v; }

    get #full() { return this.#native ??= new Native(this.#body, this.#init); }
    get status() { return this.#native ? this.#native.status : this.#init?.status ?? 200; }
    get ok() { return this.status >= 200 && this.status < 300; }
    get headers() { return this.#full.headers; }
    get body() { return this.#full.body; }
    get bodyUsed() { return this.#native ? this.#native.bodyUsed : false; }
    get statusText() { return this.#full.statusText; }
    get type() { return this.#full.type; }
    get url() { return this.#full.url; }
    get redirected() { return this.#full.redirected; }
    clone() { return this.#full.clone(); }
    text() { return this.#full.text(); }
    json() { return this.#full.json(); }
    bytes() { return this.#full.arrayBuffer().then((b) => new Uint8Array(b)); }
    arrayBuffer() { return this.#full.arrayBuffer(); }
    blob() { return this.#full.blob(); }
    formData() { return this.#full.formData(); }
  }
  Object.setPrototypeOf(Response, Native);
  Object.setPrototypeOf(Response.prototype, Native.prototype);

  light = Response.light;
  real = Response.real;
  // User code sees a class with the standard's statics only.
  delete Response.light;
  delete Response.real;
  return Response;
}

function pairs(headers) {
  if (headers === undefined || headers === null) return [];
  return typeof headers[Symbol.iterator] === 'function' ? headers : Object.entries(headers);
}

let native; // gives Node's own class

function install() {
  const { get, value } = Object.getOwnPropertyDescriptor(globalThis, 'Response');
  native = get !== undefined ? get.bind(globalThis) : () => value;
  const define = (v) => Object.defineProperty(globalThis, 'Response', { value: v, writable: true, configurable: true, enumerable: false });
  Object.defineProperty(globalThis, 'Response', {
    configurable: true, enumerable: false,
    get() {
      const made = make();
      define(made);
      return made;
    },
    set: define,
  });
}

module.exports = { light: (v) => light(v), real: (v) => real(v), install };
