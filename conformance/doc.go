// Package conformance checks whether a backend keeps the contract of package
// messaging, and shows how it does not.
package conformance
