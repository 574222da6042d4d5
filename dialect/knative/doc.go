// Package knative is Knative Serving's API in terms of Hearth: the kinds with
// their defaults, rules and columns, and what becomes of their objects. It
// translates only; storing, running and routing are done by what serves native
// functions, too.
package knative
