'use strict';
// Which shape a handler has, and how each is called. README.md has the rule for
// people; styleOf is the rule.

const { Event, FetchRequest, Context } = require('./event.cjs');
const { answer } = require('./answer.cjs');
const nodeHttp = require('./http.cjs');

const styles = ['event', 'fetch', 'node', 'callback'];

// parameters gives the names of fn's parameters; one that is no plain name is
// "". Native and bound functions give undefined.
function parameters(fn) {
  let s = Function.prototype.toString.call(fn);
  if (/\{\s*\[native code\]\s*\}\s*$/.test(s)) return undefined;
  s = s.replace(/^(?:\/\*[\s\S]*?\*\/|\/\/.*\n|\s)+/, '');
  const one = /^(?:async\s+)?([\w$]+)\s*=>/.exec(s);
  if (one && one[1] !== 'async') return [one[1]];
  const open = s.indexOf('(');
  if (open < 0) return [];
  const names = [];
  let depth = 0, from = open + 1, quote = '';
  for (let i = open; i < s.length; i++) {
    const c = s[i];
    if (quote !== '') {
      if (c === '\\') i++;
      else if (c === quote) quote = '';
    } else if (c === '"' || c === "'" || c === '`') quote = c;
    else if (c === '/' && s[i + 1] === '*') i = s.indexOf('*/', i + 2) + 1;
    else if (c === '/' && s[i + 1] === '/') i = s.indexOf('\n', i);
    else if (c === '(' || c === '[' || c === '{') depth++;
    else if (c === ')' || c === ']' || c === '}') {
      if (--depth === 0) {
        names.push(s.slice(from, i));
        break;
      }
    } else if (c === ',' && depth === 1) {
      names.push(s.slice(from, i));
      from = i + 1;
    }
  }
  return names
    .map((n) => n.replace(/\/\*[\s\S]*?\*\/|\/\/.*(\n|$)/g, '').trim())
    .filter((n) => n !== '')
    .map((n) => /^([A-Za-z_$][\w$]*)\s*(=|$)/.exec(n)?.[1] ?? (n.startsWith('...') ? '...' : ''));
}

function styleOf(fn) {
  const names = parameters(fn);
  if (names === undefined) return fn.length >= 2 ? 'node' : 'event';
  if (names.length >= 3) return 'node';
  const bare = names.map((n) => n.replace(/^_+/, '').toLowerCase());
  if (names.length === 2) {
    if (/^(cb|callback|done)$/.test(bare[1])) return 'callback';
    if (/^(res|resp|response|reply)$/.test(bare[1]) || /^(req|request)$/.test(bare[0])) return 'node';
    return 'event';
  }
  return /^(req|request)$/.test(bare[0] ?? '') ? 'fetch' : 'event';
}

// runner makes the function that answers a call. hooks.run(call, f, self, a, b, c) calls
// f in the call's context, hooks.failed(call, err) reports what it threw.
function runner(style, fn, self, about, hooks) {
  const { run, failed } = hooks;
  const settle = (call, v) => {
    if (v !== null && (typeof v === 'object' || typeof v === 'function') && typeof v.then === 'function') {
      v.then((x) => give(call, x), (err) => failed(call, err));
    } else give(call, v);
  };
  const give = (call, v) => {
    try {
      const p = answer(call, v);
      if (p !== undefined) p.catch((err) => failed(call, err));
    } catch (err) {
      failed(call, err);
    }
  };
  switch (style) {
    case 'fetch':
      return (call) => {
        try {
          settle(call, run(call, fn, self, new FetchRequest(call)));
        } catch (err) {
          failed(call, err);
        }
      };
    case 'node':
      return (call) => {
        try {
          const v = run(call, nodeHttp.handle, undefined, call, fn, failed);
          if (v && typeof v.then === 'function') v.then(undefined, (err) => failed(call, err));
        } catch (err) {
          failed(call, err);
        }
      };
    case 'callback':
      return (call) => call.collect((bytes) => {
        if (call.gone) return;
        const back = (a, body, headers) => {
          if (a instanceof Error) return failed(call, a);
          // callback(status, body, headers) as Fission has it, callback(null, value) as Node.
          if (Number.isInteger(a)) return give(call, { status: a, body: body === null ? undefined : body, headers });
          if (a !== null && a !== undefined) return failed(call, new Error(String(a)));
          return give(call, body);
        };
        try {
          const v = run(call, fn, self, new Event(call, bytes), back);
          // What it returns otherwise means nothing: (x, callback) => setTimeout(…).
          if (v && typeof v.then === 'function') v.then((x) => { if (x !== undefined) give(call, x); }, (err) => failed(call, err));
        } catch (err) {
          failed(call, err);
        }
      });
    default: {
      const two = fn.length >= 2 || (parameters(fn)?.length ?? 0) >= 2;
      return (call) => {
        const now = (bytes) => {
          if (call.gone) return;
          try {
            settle(call, run(call, fn, self, new Event(call, bytes), two ? new Context(call, about) : undefined));
          } catch (err) {
            failed(call, err);
          }
        };
        call.collect(now);
      };
    }
  }
}

module.exports = { styleOf, styles, runner, parameters };
