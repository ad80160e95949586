package memory

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fa5182d2/messaging"
)

func TestReceiveMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		publish(t, pub, "", "a", "b", "c")
		for _, max := range []int{0, -1} {
			if ds, err := sub.Receive(t.Context(), max); err == nil || ds != nil {
				t.Errorf("max %d: %v, %v", max, ds, err)
			}
		}
		for _, want := range []int{2, 1} {
			ds, err := sub.Receive(t.Context(), 2)
			if err != nil || len(ds) != want || cap(ds) != want {
				t.Errorf("%d deliveries, %v; want %d", len(ds), err, want)
			}
		}
	})
}

func TestReceiveEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if ds, err := sub.Receive(short, 1); !errors.Is(err, context.DeadlineExceeded) || ds != nil {
			t.Error(ds, err)
		}
		publish(t, pub, "", "a")
		if ds, err := sub.Receive(short, 1); !errors.Is(err, context.DeadlineExceeded) || ds != nil {
			t.Error(ds, err)
		}
		if d := receive(t, sub, 1)[0]; d.Attempt != 1 || d.Redelivered {
			t.Errorf("attempt %d, redelivered %v: the cancelled Receive took it", d.Attempt, d.Redelivered)
		}
	})
}

// promise publishes a message to the subscription of sub, of which the first
// Receive that waits is told, but stops it just before it looks.
func promise(t *testing.T, sub messaging.QueueSubscriber) {
	t.Helper()
	if sub.(*queue).s.publish([]*record{{id: "a"}}) == nil {
		t.Fatal("no Receive waits")
	}
}

// A Receive whose context ends when it has been promised a message leaves it to
// the next one that waits.
func TestPromiseIsPassedOn(t *testing.T) {
	for _, window := range []string{"1", "256"} {
		for end, want := range map[string]error{"cancel": context.Canceled, "close": messaging.ErrClosed} {
			synctest.Test(t, func(t *testing.T) {
				b := new(Backend)
				sub := openQueue(t, b, "mem://q?kind=queue&inflight="+window)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				first, second := make(chan error), make(chan error)
				go func() {
					_, err := sub.Receive(ctx, 1)
					first <- err
				}()
				synctest.Wait()
				heir := sub
				if end == "close" {
					heir = openQueue(t, b, "mem://q")
				}
				inherit := func() {
					_, err := heir.Receive(t.Context(), 1)
					second <- err
				}
				if window == "1" {
					promise(t, sub)
					go inherit() // finds the window full
				} else {
					go inherit()
					synctest.Wait()
					promise(t, sub)
				}
				synctest.Wait()
				if end == "cancel" {
					cancel()
				} else if err := sub.Close(); err != nil {
					t.Error(err)
				}
				if err := <-first; !errors.Is(err, want) {
					t.Error(err)
				}
				if err := <-second; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// What one Receive has been promised, no other takes.
func TestPromiseIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		sub := openQueue(t, b, "mem://q?kind=queue")
		got := make(chan int)
		go func() {
			ds, err := sub.Receive(t.Context(), 10)
			if err != nil {
				t.Error(err)
			}
			got <- len(ds)
		}()
		synctest.Wait()
		s := sub.(*queue).s
		first := s.publish([]*record{{id: "a"}})
		other := openQueue(t, b, "mem://q")
		nothing(t, other, time.Second)
		if s.publish([]*record{{id: "b"}}) != nil {
			t.Error("a second one was woken while the first is on its way")
		}
		if n := len(receive(t, other, 1)); n != 1 {
			t.Errorf("%d of two", n)
		}
		first.wake()
		if n := <-got; n != 1 {
			t.Errorf("got %d", n)
		}
	})
}

// One whose window is full does not hold up those who wait behind it.
func TestFullWindowDoesNotBlockOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, full := open(t, b, "mem://q?kind=queue&inflight=1")
		other := openQueue(t, b, "mem://q")
		served := make(chan string, 3)
		for _, who := range []string{"full", "full", "other"} {
			go func() {
				sub := full
				if who == "other" {
					sub = other
				}
				ds, err := sub.Receive(t.Context(), 1)
				if err != nil {
					t.Error(err)
				}
				served <- who
				if who == "full" {
					time.Sleep(time.Minute)
					if err := full.Ack(t.Context(), ds...); err != nil {
						t.Error(err)
					}
				}
			}()
			synctest.Wait()
		}
		publish(t, pub, "", "a")
		synctest.Wait()
		publish(t, pub, "", "b")
		synctest.Wait()
		if len(served) != 2 {
			t.Error("nobody got the second message")
		}
		publish(t, pub, "", "c")
		for _, want := range []string{"full", "other", "full"} {
			if got := <-served; got != want {
				t.Errorf("%s was served, want %s", got, want)
			}
		}
		time.Sleep(time.Hour)
	})
}

// A Receive that is cancelled when a message has been promised to it leaves
// the message to the next one.
func TestCancelledReceiveLosesNothing(t *testing.T) {
	for _, window := range []string{"1", "2", "256"} {
		for range 100 {
			b := new(Backend)
			pub, sub := open(t, b, "mem://q?kind=queue&inflight="+window)
			first, cancel := context.WithCancel(t.Context())
			got := make(chan *messaging.Delivery, 2)
			var wg sync.WaitGroup
			for _, ctx := range []context.Context{first, t.Context()} {
				wg.Go(func() {
					if ds, err := sub.Receive(ctx, 1); err == nil {
						got <- ds[0]
						if err := sub.Ack(t.Context(), ds...); err != nil {
							t.Error(err)
						}
					}
				})
			}
			wg.Go(func() {
				if err := pub.Publish(t.Context(), message("a"), message("b")); err != nil {
					t.Error(err)
				}
			})
			cancel()
			d := <-got
			if d.Attempt != 1 || d.Redelivered {
				t.Errorf("attempt %d, redelivered %v", d.Attempt, d.Redelivered)
			}
			wg.Wait()
		}
	}
}

func TestCloseAndDeleteEndReceive(t *testing.T) {
	for end, want := range map[string]error{"close": messaging.ErrClosed, "crash": messaging.ErrClosed, "delete": messaging.ErrNotFound} {
		for _, full := range []bool{false, true} {
			t.Run(fmt.Sprint(end, full), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b := new(Backend)
					pub, sub := open(t, b, "mem://q?kind=queue&inflight=1")
					if full {
						publish(t, pub, "", "a", "b")
						receive(t, sub, 1)
					}
					var wg sync.WaitGroup
					for range 2 {
						wg.Go(func() {
							if ds, err := sub.Receive(context.Background(), 1); !errors.Is(err, want) || ds != nil {
								t.Error(ds, err)
							}
						})
					}
					synctest.Wait()
					switch end {
					case "close":
						if err := sub.Close(); err != nil {
							t.Error(err)
						}
					case "crash":
						if err := b.Crash(sub); err != nil {
							t.Error(err)
						}
					case "delete":
						if err := b.Delete("q"); err != nil {
							t.Error(err)
						}
					}
					wg.Wait()
					if _, err := sub.Receive(t.Context(), 1); !errors.Is(err, want) {
						t.Error(err)
					}
				})
			})
		}
	}
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue&inflight=3&hold=10m&lease=1m")
		other := openQueue(t, b, "mem://q")
		if w, w2 := sub.Capabilities().Window, other.Capabilities().Window; w != 3 || w2 != 256 {
			t.Errorf("windows are %d and %d", w, w2)
		}
		for i := range 10 {
			publish(t, pub, "", fmt.Sprint(i))
		}
		ds, err := sub.Receive(t.Context(), 100)
		if err != nil || len(ds) != 3 {
			t.Fatal(len(ds), err)
		}
		nothing(t, sub, time.Minute)
		others := receive(t, other, 7) // no hidden prefetch
		nothing(t, other, time.Second)
		if err := other.Release(t.Context(), others...); err != nil {
			t.Fatal(err)
		}

		// Each way to settle one frees one place, and wakes who waits for it.
		settles := []func(d *messaging.Delivery) error{
			func(d *messaging.Delivery) error { return sub.Ack(t.Context(), d) },
			func(d *messaging.Delivery) error { return sub.Nack(t.Context(), time.Hour, d) },
			func(d *messaging.Delivery) error { return sub.Release(t.Context(), d) },
		}
		for _, settle := range settles {
			waited := make(chan []*messaging.Delivery, 1)
			go func() {
				ds, err := sub.Receive(t.Context(), 100)
				if err != nil {
					t.Error(err)
				}
				waited <- ds
			}()
			synctest.Wait()
			if len(waited) > 0 {
				t.Fatal("received beyond the window")
			}
			if err := settle(ds[0]); err != nil {
				t.Fatal(err)
			}
			got := <-waited
			if len(got) != 1 {
				t.Errorf("%d deliveries for one place", len(got))
			}
			ds = append(ds[1:], got...)
		}
		// So does the end of a lease.
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		ds, err = sub.Receive(ctx, 100)
		if took := time.Since(start); err != nil || len(ds) != 3 || took > 10*time.Minute {
			t.Errorf("%d deliveries after %v, %v", len(ds), took, err)
		}
	})
}

func TestReceiversAreServedInTheirOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		other := openQueue(t, b, "mem://q")
		served := make(chan int, 10)
		for i, s := range []messaging.QueueSubscriber{sub, other, other, sub, other} {
			go func() {
				if _, err := s.Receive(t.Context(), 10); err != nil {
					t.Error(err)
				}
				served <- i
			}()
			synctest.Wait()
		}
		for want := range 5 {
			publish(t, pub, "", fmt.Sprint(want))
			if got := <-served; got != want {
				t.Errorf("receiver %d was served as number %d", got, want)
			}
		}
	})
}

func TestReceiversShareWhatComesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub := openPublisher(t, b, "mem://q?kind=queue")
		got := make(chan int)
		for range 3 {
			sub := openQueue(t, b, "mem://q")
			go func() {
				ds, err := sub.Receive(t.Context(), 100)
				if err != nil {
					t.Error(err)
				}
				got <- len(ds)
			}()
		}
		synctest.Wait()
		if err := pub.Publish(t.Context(), make([]messaging.Message, 9)...); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if n := <-got; n != 3 {
				t.Errorf("one of three receivers got %d of nine messages", n)
			}
		}
	})
}

// Who asks again and again does not take everything from who waits.
func TestWaitingReceiverIsNotOvertakenForEver(t *testing.T) {
	b := new(Backend)
	pub, busy := open(t, b, "mem://q?kind=queue")
	patient := openQueue(t, b, "mem://q")
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for {
				ds, err := busy.Receive(ctx, 1000)
				if err != nil {
					return
				}
				if err := busy.Ack(context.Background(), ds...); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := pub.Publish(t.Context(), message("a")); err != nil {
				t.Error(err)
			}
		}
	})
	for range 100 {
		if _, err := patient.Receive(t.Context(), 1); err != nil {
			t.Fatal(err)
		}
	}
	cancel()
	wg.Wait()
}

// Everything arrives, whatever receivers do at the same time: a wake-up that
// is lost would leave this test waiting.
func TestNoWakeUpIsLost(t *testing.T) {
	const publishers, messages, receivers = 4, 2000, 8
	b := new(Backend)
	pub := openPublisher(t, b, "mem://q?kind=queue")
	all, finish := context.WithCancel(t.Context())
	defer finish()
	var acked atomic.Int64
	var wg sync.WaitGroup
	subs := []messaging.QueueSubscriber{openQueue(t, b, "mem://q?inflight=1"), openQueue(t, b, "mem://q?inflight=3"), openQueue(t, b, "mem://q")}
	for i := range receivers {
		sub := subs[i%len(subs)]
		wg.Go(func() {
			for n := 0; all.Err() == nil; n++ {
				ctx, cancel := context.WithTimeout(all, time.Duration(n%50)*10*time.Microsecond)
				if n%7 == 0 {
					cancel()
					ctx, cancel = context.WithCancel(all)
				}
				ds, err := sub.Receive(ctx, 1+n%5)
				cancel()
				if err != nil {
					continue
				}
				switch n % 5 {
				case 0:
					err = sub.Nack(context.Background(), time.Duration(n%3)*100*time.Microsecond, ds...)
				case 1:
					err = sub.Release(context.Background(), ds...)
				default:
					if err = sub.Ack(context.Background(), ds...); acked.Add(int64(len(ds))) == publishers*messages {
						finish()
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	for range publishers {
		wg.Go(func() {
			for range messages {
				if err := pub.Publish(t.Context(), message("a")); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := acked.Load(); n != publishers*messages {
		t.Errorf("acknowledged %d of %d", n, publishers*messages)
	}
}

func TestPausedBrokerDeliversAndSettlesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		publish(t, pub, "", "a", "b")
		d := receive(t, sub, 1)[0]
		waiting := make(chan error, 1)
		idle := openQueue(t, b, "mem://q?group=idle")
		go func() {
			_, err := idle.Receive(t.Context(), 1)
			waiting <- err
		}()
		synctest.Wait()
		resume := b.Pause()
		nothing(t, sub, time.Minute)
		short, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		wantAt(t, sub.Ack(short, d), context.DeadlineExceeded)
		if _, err := b.OpenQueue(short, parse(t, "mem://q")); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		resume()
		if err := sub.Ack(t.Context(), d); err != nil {
			t.Error(err)
		}
		receive(t, sub, 1)
		publish(t, pub, "", "c")
		if err := <-waiting; err != nil {
			t.Error(err)
		}
	})
}

func TestSubscriberClosesDuringAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		publish(t, pub, "", "a")
		d := receive(t, sub, 1)[0]
		resume := b.Pause()
		defer resume()
		errs := make(chan error, 3)
		go func() { _, err := sub.Receive(context.Background(), 1); errs <- err }()
		go func() { errs <- sub.Ack(context.Background(), d) }()
		synctest.Wait()
		if err := sub.Close(); err != nil {
			t.Error(err)
		}
		for range 2 {
			if err := <-errs; !errors.Is(err, messaging.ErrClosed) {
				t.Error(err)
			}
		}
	})
}

// What comes due while the broker is paused waits until it is resumed, also
// for a Receive that has been waiting since before.
func TestPauseHoldsBackWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := new(Backend)
		pub, sub := open(t, b, "mem://q?kind=queue")
		publish(t, pub, "", "a")
		if err := sub.Nack(t.Context(), time.Minute, receive(t, sub, 1)...); err != nil {
			t.Fatal(err)
		}
		got := make(chan error, 1)
		go func() {
			_, err := sub.Receive(t.Context(), 1)
			got <- err
		}()
		synctest.Wait()
		resume := b.Pause()
		time.Sleep(time.Hour)
		if len(got) > 0 {
			t.Error("delivered while paused")
		}
		resume()
		if err := <-got; err != nil {
			t.Error(err)
		}
	})
}

// What comes again does not wait until nothing new comes.
func TestRetriesAreNotStarved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pub, sub := open(t, new(Backend), "mem://q?kind=queue")
		for i := range 20 {
			publish(t, pub, "", fmt.Sprint(i))
		}
		d := receive(t, sub, 1)[0]
		if err := sub.Nack(t.Context(), 0, d); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			publish(t, pub, "", "new")
			next := receive(t, sub, 1)[0]
			if next.ID == d.ID {
				return
			}
			if err := sub.Ack(t.Context(), next); err != nil {
				t.Fatal(err)
			}
		}
		t.Error("others passed it again and again")
	})
}

func TestPoisonDoesNotBlockOthers(t *testing.T) {
	for _, order := range []string{"unordered", "key"} {
		synctest.Test(t, func(t *testing.T) {
			pub, sub := open(t, new(Backend), "mem://q?kind=queue&order="+order)
			for i := range 50 {
				publish(t, pub, fmt.Sprint("poison", i), "poison")
			}
			for i := range 50 {
				publish(t, pub, fmt.Sprint("good", i), "good")
			}
			good, poison := 0, 0
			for received := 0; good < 50 || poison < 1000; received++ {
				if received > 3000 {
					t.Fatalf("received %d good and %d failing ones in %d deliveries", good, poison, received)
				}
				d := receive(t, sub, 1)[0]
				err := error(nil)
				if string(d.Body) == "good" {
					good++
					err = sub.Ack(t.Context(), d)
				} else {
					poison++
					err = sub.Nack(t.Context(), 0, d)
				}
				if err != nil {
					t.Fatal(err)
				}
				if good < 50 {
					publish(t, pub, fmt.Sprint("more", received), "poison") // and ever more arrive
				}
			}
		})
	}
}
