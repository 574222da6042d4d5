'use strict';
// Finding the handler in /code and importing it, as Node itself would.

const fs = require('fs');
const path = require('path');
const Module = require('module');
const { pathToFileURL } = require('url');
const { styleOf, styles } = require('./styles.cjs');

const extensions = ['.js', '.mjs', '.cjs'];
const usualFiles = ['index', 'main', 'handler', 'function', 'app', 'server', 'dist/index', 'dist/main', 'build/index'];
const usualExports = ['default', 'handler', 'main', 'fetch'];

class LoadError extends Error {
  constructor(stage, message, traceback) {
    super(message);
    this.stage = stage;
    this.traceback = traceback ?? '';
  }
}

// What is not there is asked for without an exception: those take long.
const absent = { throwIfNoEntry: false };
const isFile = (p) => {
  try {
    return fs.statSync(p, absent)?.isFile() === true;
  } catch {
    return false;
  }
};

// packageOf reads the package.json of a folder; undefined where there is none
// or it cannot be read.
function packageOf(dir) {
  const file = path.join(dir, 'package.json');
  try {
    return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, 'utf8')) : undefined;
  } catch {
    return undefined;
  }
}

function withExtension(base) {
  if (/\.[mc]?js$/.test(base) && isFile(base)) return base;
  for (const e of extensions) if (isFile(base + e)) return base + e;
  for (const e of extensions) if (isFile(path.join(base, 'index' + e))) return path.join(base, 'index' + e);
  return undefined;
}

// locate turns a handler (file, file.export, folder/file.export or nothing) into
// a file and the name of an export, which may be empty.
function locate(code, handler) {
  const looked = [];
  if (handler !== '') {
    const base = path.resolve(code, handler);
    if (base !== code && !base.startsWith(code.endsWith('/') ? code : code + path.sep)) {
      throw new LoadError('handler', `handler ${handler} points outside of the function's folder`);
    }
    const file = withExtension(base);
    if (file !== undefined) return { file, name: '' };
    looked.push(handler + '.{js,mjs,cjs}');
    const dot = handler.lastIndexOf('.');
    if (dot > handler.lastIndexOf('/')) {
      const f = withExtension(path.resolve(code, handler.slice(0, dot)));
      if (f !== undefined) return { file: f, name: handler.slice(dot + 1) };
      looked.push(handler.slice(0, dot) + '.{js,mjs,cjs}');
    } else {
      // A bare name may be an export of the usual file.
      for (const u of usualFiles) {
        const f = withExtension(path.join(code, u));
        if (f !== undefined) return { file: f, name: handler };
      }
    }
  } else {
    const main = packageOf(code)?.main;
    if (typeof main === 'string') {
      const f = withExtension(path.resolve(code, main));
      if (f !== undefined) return { file: f, name: '' };
      looked.push(`${main} (main of package.json)`);
    }
    for (const u of usualFiles) {
      const f = withExtension(path.join(code, u));
      if (f !== undefined) return { file: f, name: '' };
    }
    looked.push(usualFiles.join(', ') + ' with .js, .mjs or .cjs');
    const all = fs.existsSync(code) ? fs.readdirSync(code).filter((n) => /\.[mc]?js$/.test(n) && !n.startsWith('.') && !/\.config\.|\.test\.|\.spec\./.test(n)) : [];
    if (all.length === 1) return { file: path.join(code, all[0]), name: '' };
    if (all.length > 1) looked.push(`one single file, but there are ${all.join(', ')}`);
  }
  let there = [];
  try {
    there = fs.readdirSync(code).filter((n) => !n.startsWith('.'));
  } catch {}
  throw new LoadError('handler', `found no file ${handler ? `for handler "${handler}"` : 'to load'}; looked for ${looked.join('; ')}; the folder has ${there.slice(0, 20).join(', ') || 'nothing'}`);
}

const moduleSyntax = /^\s*(?:import\s*(?:[\w{*$]|["'])|export\s+(?:default|const|let|var|function|async|class|\{|\*)|export\s*[{*])/m;

function isModule(file, source) {
  if (file.endsWith('.mjs')) return true;
  if (file.endsWith('.cjs')) return false;
  for (let dir = path.dirname(file); ; dir = path.dirname(dir)) {
    const p = packageOf(dir);
    if (p?.type === 'module') return true;
    if (p?.type === 'commonjs') return false;
    if (p !== undefined || dir === path.dirname(dir)) break;
  }
  return moduleSyntax.test(source);
}

// clean drops the loader's own frames and Node's internals from a stack.
function clean(err) {
  let s = err && typeof err === 'object' && typeof err.stack === 'string' ? err.stack : `Thrown: ${String(err)}`;
  const lines = s.split('\n');
  const mine = lines.findIndex((l) => /^\s+at /.test(l) && (l.includes(__dirname + path.sep) || l.includes(pathToFileURL(__dirname).href)));
  s = (mine < 0 ? lines : lines.slice(0, mine)).filter((l) => !/^\s+at .*\(?node:internal\//.test(l)).join('\n');
  if (err && err.cause) s += '\ncaused by: ' + clean(err.cause);
  return s;
}

// requireFile is require(file) for a file whose text was read. It does without
// looking for what is known already: where the file really is, whether it is a
// module, and what is in it. code is the folder of the function.
function requireFile(file, source, code) {
  if (path.dirname(file) !== code || process.cwd() !== code || !fs.lstatSync(file).isFile()) {
    return Module.createRequire(file)(file); // there may be links on the way to it
  }
  const parent = new Module(file); // as createRequire makes: user code has always had one
  parent.filename = file;
  parent.paths = Module._nodeModulePaths(code);
  const m = new Module(file, parent);
  m.filename = file;
  m.paths = parent.paths;
  Module._cache[file] = m;
  let done = false;
  try {
    m._compile(source, file);
    done = true;
  } finally {
    if (!done) delete Module._cache[file];
  }
  m.loaded = true;
  return m.exports;
}

async function importFile(file, code) {
  let source = '';
  try {
    source = fs.readFileSync(file, 'utf8');
    if (source.includes('//# sourceMappingURL=')) process.setSourceMapsEnabled(true);
    if (isModule(file, source)) return await require('./import.cjs')(pathToFileURL(file).href);
    try {
      return requireFile(file, source, code);
    } catch (err) {
      if (err instanceof SyntaxError && /import statement|Unexpected token 'export'|import\.meta|await is only valid/.test(err.message)) {
        return await require('./import.cjs')(pathToFileURL(file).href);
      }
      throw err;
    }
  } catch (err) {
    const text = err instanceof Error ? `${err.name}: ${err.message}`.split('\n')[0] : `thrown: ${String(err)}`;
    throw new LoadError('import', text, clean(err));
  }
}

const usable = (v) => typeof v === 'function' || (v !== null && typeof v === 'object' && (typeof v.fetch === 'function' || isServer(v)));
const isServer = (v) => typeof v.emit === 'function' && typeof v.listeners === 'function' && v.listeners('request').length > 0;

function exportsOf(m) {
  if (m === null || (typeof m !== 'object' && typeof m !== 'function')) return [];
  const names = new Set(Object.keys(m));
  if (m.default !== null && typeof m.default === 'object') for (const k of Object.keys(m.default)) names.add(k);
  return [...names].filter((n) => n !== '__esModule' && n !== 'module.exports');
}

// pick finds the handler among the exports: {fn, self, style, upgrade}.
function pick(m, file, name) {
  const shown = path.basename(file);
  const d = m !== null && typeof m === 'object' && m.default !== null && typeof m.default === 'object' ? m.default : undefined;
  let v;
  if (name !== '') {
    v = m?.[name] ?? d?.[name];
    if (!usable(v)) {
      const there = exportsOf(m);
      throw new LoadError('handler', v === undefined
        ? `${shown} has no export "${name}"; it exports ${there.length ? there.join(', ') : 'nothing'}`
        : `export "${name}" of ${shown} is ${v === null ? 'null' : typeof v}, not a function; it exports ${there.join(', ')}`);
    }
  } else if (typeof m === 'function' || (usable(m) && !('default' in m))) v = m;
  else {
    for (const n of usualExports) {
      v = m?.[n] ?? d?.[n];
      if (usable(v)) {
        name = n;
        break;
      }
      v = undefined;
    }
    if (v === undefined) {
      const fns = exportsOf(m).filter((n) => n !== 'upgrade' && typeof (m[n] ?? d?.[n]) === 'function');
      if (fns.length === 1) v = m[name = fns[0]] ?? d[fns[0]];
    }
    if (v === undefined) {
      const there = exportsOf(m);
      throw new LoadError('handler', `found no handler in ${shown}: export a function as default or as handler; it exports ${there.length ? there.join(', ') : 'nothing'}`);
    }
  }
  let upgrade = m?.upgrade ?? d?.upgrade ?? v.upgrade;
  if (typeof upgrade !== 'function') upgrade = undefined;
  let style = m?.style ?? d?.style ?? v.style;
  if (typeof v !== 'function') {
    if (isServer(v)) {
      const server = v;
      if (server.listeners('upgrade').length > 0) upgrade ??= (req, socket, head) => { server.emit('upgrade', req, socket, head); };
      return { fn: (req, res) => { server.emit('request', req, res); }, self: undefined, style: 'node', upgrade };
    }
    return { fn: v.fetch, self: v, style: 'fetch', upgrade };
  }
  if (!styles.includes(style)) style = name === 'fetch' ? 'fetch' : styleOf(v);
  return { fn: v, self: undefined, style, upgrade };
}

async function load(code, handler) {
  code = path.resolve(code);
  const { file, name } = locate(code, handler);
  process.argv[1] = file;
  return pick(await importFile(file, code), file, name);
}

module.exports = { load, LoadError, clean };
