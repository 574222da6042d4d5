'use strict';
// A function like users' ones: loaded before any of theirs, so that the way to
// them is warm.
exports.handler = () => 'warm';
