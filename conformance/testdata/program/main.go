// The program judges memory's queue by one rule, outside of any test.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/fa5182d2/messaging/conformance"
	"github.com/fa5182d2/messaging/memory"
)

func main() {
	newTarget := func() *conformance.Target {
		return &conformance.Target{
			Name: "memory", Backend: &memory.Backend{}, Virtual: true,
			URL: func(channel string) string { return "mem://" + channel },
		}
	}
	report, err := conformance.Run(context.Background(), conformance.ForQueue, newTarget, &conformance.Options{Seed: 1, Rules: []string{"Q04"}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(report.Row("Q04"))
}
