// Package memory holds the executable specification of the core contracts:
// store, blob, identity, record and engine, kept in this process and gone with
// it. Each is as plain as the contract allows; where another driver differs, the
// other driver is wrong. They serve tests and short-lived nodes; what must
// survive belongs to driver/sql and driver/file.
package memory
