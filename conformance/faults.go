package conformance

// faultName says what a fault is, for who does not know the catalogue's ids by
// heart. It is "" for what has no id.
func faultName(id string) string {
	return map[string]string{
		"none": "no fault",
		"F1":   "connection reset",
		"F2":   "black hole",
		"F3":   "lost reply",
		"F4":   "delay",
		"F5":   "broker killed",
		"F6":   "broker paused",
		"F7":   "leader moved",
		"F8":   "consumer crash",
		"F9":   "zombie consumer",
		"F10":  "members come and go",
		"F11":  "handler fails or is slow",
		"F12":  "throttling, partial failure",
		"F13":  "partitions added or split",
		"F14":  "crash between steps",
		"F15":  "requests reordered",
		"F16":  "the wall clock steps",

		faultMixed: "several by turns",
	}[id]
}
