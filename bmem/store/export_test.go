package store

// Holds is for the tests outside of the package.
var Holds = holds
