package conformance_test

// missingRules are the rules of the contract that are not written yet.
var missingRules = []string{}

// missingMutants are the rules that no mutant breaks yet.
var missingMutants = []string{
	"P01",
	"P02",
	"P03",
	"P04",
	"P05",
	"P06",
	"P07",
	"P08a",
	"P08b",
	"P09",
	"P10",
	"P11",
	"P12",
}
