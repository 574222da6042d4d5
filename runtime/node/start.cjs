'use strict';
// Starts the loader: from bundle.js, which has all its parts, with what V8 made
// of them before in bundle.cache; or part by part where there is no bundle.

const fs = require('fs');
const path = require('path');
const vm = require('vm');

const at = (name) => path.join(__dirname, name);
const read = (name, encoding) => (fs.existsSync(at(name)) ? fs.readFileSync(at(name), encoding) : undefined);

const source = read('bundle.js', 'latin1');
if (source === undefined) require('./loader.cjs');
else {
  // V8 itself looks whether the cache is of this source, version and machine.
  const script = new vm.Script(source, { filename: at('bundle.js'), cachedData: read('bundle.cache') });
  const load = script.runInThisContext()(require, __dirname);
  const to = process.env.HEARTH_COMPILE;
  if (to === undefined) load('./loader.cjs');
  else {
    load('./loader.cjs').exercise.then(() => {
      fs.writeFileSync(to, script.createCachedData());
      process.exit(0);
    });
  }
}
