'use strict';
// Required once before any user code, so that the module loader is warm.
module.exports = 1;
