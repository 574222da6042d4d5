// Package killtest kills processes that run others, for tests of what is left.
package killtest
