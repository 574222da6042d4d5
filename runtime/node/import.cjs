'use strict';
// import() of a file of its own: the bundle is no module and has none.
module.exports = (specifier) => import(specifier);
