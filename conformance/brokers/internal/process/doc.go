// Package process runs servers as child processes that do not outlive what
// started them.
//
// Each [Folder] holds the data of some servers and is locked by the process
// that made it. [Folder.Close] kills the servers and removes the folder. When
// its owner is killed instead, the children get SIGKILL from the kernel (on
// Linux), a watcher that hears the owner's end kills their groups and removes
// the folder, and should the watcher have been killed too, [Sweep] does it,
// which each new folder begins with.
package process
