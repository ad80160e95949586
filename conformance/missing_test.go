package conformance_test

// missingRules are the rules of the contract that are not written yet.
var missingRules = []string{}

// missingMutants are the rules that no mutant breaks yet.
var missingMutants = []string{}
