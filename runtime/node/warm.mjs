// Imported once before any user code, so that the module loader is warm.
export default 1;
