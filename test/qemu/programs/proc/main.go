// SPDX-License-Identifier: MIT

// Proc compares /proc, /sys and /dev with what the system calls and the program itself know, by the
// libraries that Go programs read them with, and prints what does not agree.
package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/procfs"
	"github.com/prometheus/procfs/blockdevice"
	"github.com/prometheus/procfs/sysfs"
	"golang.org/x/sys/unix"
)

var failures int

func expect(good bool, what string, details ...any) {
	if !good {
		failures++
		fmt.Println(append([]any{"WRONG", what + ":"}, details...)...)
	}
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func read(path string) string {
	text, err := os.ReadFile(path)
	expect(err == nil, path, err)
	return strings.TrimSuffix(string(text), "\n")
}

func near(a, b, share float64) bool { return math.Abs(a-b) <= share*math.Max(math.Abs(a), math.Abs(b)) }

// Between compares what was read, in ticks of 1/100 s, with the clock before and after.
func between(low time.Duration, seconds float64, high time.Duration) bool {
	return seconds > low.Seconds()-0.03 && seconds < high.Seconds()+0.03
}

// Burn uses a CPU until this thread's clock has advanced by so much.
func burn(howLong time.Duration) {
	for begin := cpuTime(); cpuTime()-begin < howLong; {
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	must(0, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func process() {
	self := must(procfs.Self())
	expect(self.PID == os.Getpid(), "pid", self.PID)
	exe, err := self.Executable()
	mine, _ := os.Executable()
	expect(err == nil && exe == mine, "exe", exe, err)
	expect(must(self.Comm()) == filepath.Base(exe)[:min(15, len(filepath.Base(exe)))], "comm")
	line := must(self.CmdLine())
	expect(strings.Join(line, "|") == strings.Join(os.Args, "|"), "cmdline", line)
	environment := must(self.Environ())
	expect(strings.Join(environment, "|") == strings.Join(os.Environ(), "|"), "environ", environment)
	cwd := must(self.Cwd())
	expect(cwd == must(os.Getwd()), "cwd", cwd)
	expect(must(self.RootDir()) == "/", "root")

	burn(300 * time.Millisecond)
	low := cpuTime()
	stat := must(self.Stat())
	expect(between(low, stat.CPUTime(), cpuTime()), "stat: CPU time", low, stat.CPUTime(), cpuTime())
	expect(stat.NumThreads > 1 && stat.NumThreads < 100, "stat: threads", stat.NumThreads)
	tasks := must(os.ReadDir("/proc/self/task"))
	expect(math.Abs(float64(len(tasks)-stat.NumThreads)) <= 2, "task", len(tasks), stat.NumThreads)
	expect(stat.State == "R" && stat.PID == os.Getpid(), "stat: state", stat.State)
	begin := must(stat.StartTime())
	age := float64(time.Now().UnixNano())/1e9 - begin
	expect(age > 0.2 && age < 60, "stat: start time", age)
	var up unix.Timespec
	must(0, unix.ClockGettime(unix.CLOCK_BOOTTIME, &up))
	started := float64(stat.Starttime) / 100
	expect(started >= 0 && started < float64(up.Nano())/1e9-0.3, "stat: start since boot", started, up)
	expect(stat.MinFlt > 10, "stat: faults", stat.MinFlt)

	held := make([]byte, 64<<20)
	before := must(self.Stat()).ResidentMemory()
	for i := range held {
		held[i] = 1
	}
	grown := must(self.Stat()).ResidentMemory() - before
	expect(grown >= 60<<20 && grown <= 80<<20, "stat: resident memory grows", grown)
	statm := strings.Fields(read("/proc/self/statm"))
	resident, _ := strconv.Atoi(statm[1])
	expect(near(float64(resident*4096), float64(must(self.Stat()).ResidentMemory()), 0.02), "statm", statm)
	expect(len(statm) == 7, "statm: fields", statm)
	status := must(self.NewStatus())
	expect(near(float64(status.VmRSS), float64(resident*4096), 0.02), "status: VmRSS", status.VmRSS)
	expect(near(float64(status.VmSize), float64(must(self.Stat()).VirtualMemory()), 0.02), "status: VmSize", status.VmSize)
	expect(status.VmHWM >= status.VmRSS, "status: VmHWM", status.VmHWM)
	area := must(unix.Mmap(-1, 0, 1<<30, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANON))
	larger := must(self.NewStatus())
	must(0, unix.Munmap(area))
	smaller := must(self.NewStatus())
	// The runtime may have mapped something of its own meanwhile.
	expect(smaller.VmPeak >= larger.VmSize && smaller.VmSize <= larger.VmSize-1<<30+16<<20, "status: VmPeak",
		smaller.VmPeak, smaller.VmSize, larger.VmSize)
	switches := smaller.VoluntaryCtxtSwitches + smaller.NonVoluntaryCtxtSwitches
	expect(len(smaller.CpusAllowedList) == runtime.NumCPU(), "status: CPUs", smaller.CpusAllowedList)
	expect(status.UIDs[0] == uint64(os.Getuid()) && status.GIDs[3] == uint64(os.Getegid()), "status: ids", status.UIDs, status.GIDs)
	expect(status.TGID == os.Getpid(), "status: Tgid")
	runtime.KeepAlive(held)
	held = nil
	debug.FreeOSMemory()
	shrunk := must(self.NewStatus())
	expect(shrunk.VoluntaryCtxtSwitches+shrunk.NonVoluntaryCtxtSwitches >= switches, "status: switches")
	expect(shrunk.VmRSS < status.VmRSS-50<<20, "VmRSS shrinks", shrunk.VmRSS, status.VmRSS)
	expect(shrunk.VmHWM >= status.VmRSS, "VmHWM stays", shrunk.VmHWM, status.VmRSS)

	old := syscall.Umask(0o27)
	mask := regexp.MustCompile(`(?m)^Umask:\t(\d+)$`).FindStringSubmatch(read("/proc/self/status"))
	expect(mask != nil && mask[1] == "0027", "status: Umask", mask)
	syscall.Umask(old)

	open := must(self.FileDescriptorsLen())
	files := []*os.File{must(os.Open("/dev/null")), must(os.Open("/proc/version"))}
	expect(must(self.FileDescriptorsLen()) == open+2, "fd: count", open)
	targets := must(self.FileDescriptorTargets())
	expect(strings.Contains(strings.Join(targets, " "), "/proc/version"), "fd: targets", targets)
	for _, file := range files {
		file.Close()
	}
	limits := must(self.Limits())
	var files64 syscall.Rlimit
	must(0, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files64))
	expect(limits.OpenFiles == files64.Cur, "limits: files", limits.OpenFiles, files64)
	for name, resource := range map[string]int{"Max stack size": syscall.RLIMIT_STACK, "Max core file size": syscall.RLIMIT_CORE,
		"Max address space": syscall.RLIMIT_AS, "Max data size": syscall.RLIMIT_DATA, "Max file size": syscall.RLIMIT_FSIZE} {
		var limit syscall.Rlimit
		must(0, syscall.Getrlimit(resource, &limit))
		want := "unlimited"
		if limit.Cur != math.MaxUint64 {
			want = strconv.FormatUint(limit.Cur, 10)
		}
		row := regexp.MustCompile(name + ` +(\S+)`).FindStringSubmatch(read("/proc/self/limits"))
		expect(row != nil && row[1] == want, "limits", name, row, want)
	}
	maps := must(self.ProcMaps())
	found, executable := false, false
	text := uintptr(reflectPointer())
	for _, area := range maps {
		found = found || area.StartAddr <= text && text < area.EndAddr && area.Perms.Execute && !area.Perms.Write
		executable = executable || area.Perms.Execute && area.Perms.Write
	}
	expect(found && !executable, "maps", maps)
	auxv := []byte(read("/proc/self/auxv"))
	pageSize := uint64(0)
	for at := 0; at+16 <= len(auxv); at += 16 {
		if binary.LittleEndian.Uint64(auxv[at:]) == 6 {
			pageSize = binary.LittleEndian.Uint64(auxv[at+8:])
		}
	}
	expect(pageSize == uint64(os.Getpagesize()), "auxv", pageSize)
	mounts := must(self.MountInfo())
	points := map[string]string{}
	for _, mount := range mounts {
		points[mount.MountPoint] = mount.FSType
	}
	expect(points["/"] != "" && points["/proc"] == "proc" && points["/sys"] == "sysfs", "mountinfo", points)
	_, err = os.ReadFile("/proc/self/cgroup")
	expect(err == nil, "cgroup", err)
	expect(read("/proc/self/oom_score_adj") != "", "oom_score_adj")
	target := must(os.Readlink("/proc/thread-self"))
	expect(regexp.MustCompile(`^\d+/task/\d+$`).MatchString(target), "thread-self", target)
}

func reflectPointer() uint64 { return uint64(must(strconv.ParseUint(fmt.Sprintf("%p", main), 0, 64))) }

func system() {
	fs := must(procfs.NewDefaultFS())
	cpus := must(fs.CPUInfo())
	expect(len(cpus) == runtime.NumCPU(), "cpuinfo", len(cpus))
	expect(cpus[0].ModelName != "" && cpus[0].CPUMHz > 100, "cpuinfo", cpus[0].ModelName, cpus[0].CPUMHz)
	memory := must(fs.Meminfo())
	var info syscall.Sysinfo_t
	must(0, syscall.Sysinfo(&info))
	expect(near(float64(*memory.MemTotalBytes), float64(info.Totalram)*float64(info.Unit), 0.001), "meminfo: total", *memory.MemTotalBytes, info.Totalram)
	expect(near(float64(*memory.MemFreeBytes), float64(info.Freeram)*float64(info.Unit), 0.05), "meminfo: free", *memory.MemFreeBytes, info.Freeram)
	expect(*memory.MemAvailableBytes <= *memory.MemTotalBytes && *memory.MemFreeBytes <= *memory.MemTotalBytes, "meminfo")
	block := make([]byte, 32<<20)
	for i := range block {
		block[i] = 1
	}
	less := must(fs.Meminfo())
	gone := int64(*memory.MemFreeBytes) - int64(*less.MemFreeBytes)
	expect(gone >= 24<<20 && gone < 80<<20, "meminfo: free shrinks", gone)
	runtime.KeepAlive(block)

	first := must(fs.Stat())
	burn(500 * time.Millisecond)
	time.Sleep(500 * time.Millisecond)
	second := must(fs.Stat())
	expect(len(second.CPU) == runtime.NumCPU(), "stat: CPUs", len(second.CPU))
	used := second.CPUTotal.User + second.CPUTotal.System - first.CPUTotal.User - first.CPUTotal.System
	idle := second.CPUTotal.Idle - first.CPUTotal.Idle
	expect(used > 0.4 && idle > 0.2, "stat: used and idle", used, idle)
	boot := time.Since(time.Unix(int64(second.BootTime), 0)).Seconds()
	fields := strings.Fields(read("/proc/uptime"))
	uptime, _ := strconv.ParseFloat(fields[0], 64)
	expect(math.Abs(boot-uptime) < 2 && math.Abs(uptime-float64(info.Uptime)) < 10, "uptime", boot, uptime, info.Uptime)
	expect(second.ContextSwitches > first.ContextSwitches && second.IRQTotal > first.IRQTotal && second.ProcessCreated > 1 &&
		second.ProcessesRunning >= 1, "stat: counts", second.ContextSwitches, second.IRQTotal, second.ProcessCreated)
	pages := vmstat()
	expect(pages["pgfault"] > 10 && pages["nr_free_pages"] > 1000, "vmstat", pages)
	random := must(fs.KernelRandom())
	expect(*random.EntropyAvaliable == 256 && *random.PoolSize == 256, "random", random)
	files := strings.Fields(read("/proc/sys/fs/file-nr"))
	held := must(os.Open("/dev/null"))
	more := strings.Fields(read("/proc/sys/fs/file-nr"))
	held.Close()
	expect(len(more) == 3 && must(strconv.Atoi(more[0])) == must(strconv.Atoi(files[0]))+1, "file-nr", files, more)
	var timex unix.Timex
	state, err := unix.Adjtimex(&timex)
	expect(err == nil && state == 5 && timex.Status == 64 && math.Abs(float64(timex.Time.Sec)-float64(time.Now().Unix())) < 2,
		"adjtimex", state, err, timex)
	timex.Modes = 1
	_, err = unix.Adjtimex(&timex)
	expect(err == unix.EPERM, "adjtimex: set", err)
	var name syscall.Utsname
	must(0, syscall.Uname(&name))
	expect(read("/proc/sys/kernel/osrelease") == text(name.Release[:]), "osrelease")
	expect(read("/proc/sys/kernel/ostype") == text(name.Sysname[:]), "ostype")
	expect(read("/proc/sys/kernel/hostname") == text(name.Nodename[:]), "hostname")
	expect(strings.HasPrefix(read("/proc/version"), "Linux version "+text(name.Release[:])+" "), "version", read("/proc/version"))
	most, _ := strconv.Atoi(read("/proc/sys/kernel/pid_max"))
	expect(most >= 32768, "pid_max", most)
	id := regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)
	one, two := read("/proc/sys/kernel/random/uuid"), read("/proc/sys/kernel/random/uuid")
	expect(id.MatchString(one) && one != two, "uuid", one, two)
	bootID := read("/proc/sys/kernel/random/boot_id")
	expect(len(bootID) == 36 && bootID == read("/proc/sys/kernel/random/boot_id"), "boot_id", bootID)
	backlog, _ := strconv.Atoi(read("/proc/sys/net/core/somaxconn"))
	expect(backlog >= 128, "somaxconn", backlog)
	for _, file := range []string{"max_queued_events", "max_user_instances", "max_user_watches"} {
		expect(read("/proc/sys/fs/inotify/"+file) != "0", file)
	}
	expect(regexp.MustCompile(`\[(always|madvise|never)\]`).MatchString(read("/sys/kernel/mm/transparent_hugepage/enabled")), "THP")
	expect(read("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size") == "2097152", "THP size")
	online := "0"
	if runtime.NumCPU() > 1 {
		online = fmt.Sprintf("0-%d", runtime.NumCPU()-1)
	}
	for _, file := range []string{"online", "possible", "present"} {
		expect(read("/sys/devices/system/cpu/"+file) == online, "CPUs "+file, read("/sys/devices/system/cpu/"+file))
	}
	expect(read("/sys/devices/system/cpu/offline") == "", "CPUs offline")
	sys := must(sysfs.NewDefaultFS())
	isolated, err := sys.IsolatedCPUs()
	expect(err == nil && len(isolated) == 0, "CPUs isolated", isolated, err)
	found := must(sys.CPUs())
	expect(len(found) == runtime.NumCPU(), "CPUs", found)
	for i, cpu := range found {
		on, err := cpu.Online()
		topology := must(cpu.Topology())
		expect(on && err == nil && cpu.Number() == strconv.Itoa(i) && topology.PhysicalPackageID == strconv.Itoa(i), "CPU", cpu, on, err, topology)
	}
}

// The averages follow what runs: here one thread, for as long as it takes to be seen.
func load() {
	fs := must(procfs.NewDefaultFS())
	before := must(fs.LoadAvg())
	burn(11 * time.Second)
	after := must(fs.LoadAvg())
	expect(after.Load1 > before.Load1+0.05 && after.Load1 < 2 && after.Load1 > after.Load5 && after.Load5 >= after.Load15, "loadavg",
		before, after)
	var info syscall.Sysinfo_t
	must(0, syscall.Sysinfo(&info))
	expect(math.Abs(float64(info.Loads[0])/65536-after.Load1) < 0.1, "sysinfo: loads", info.Loads, after)
}

// What disks have done, where there is one: it is read beside the cache.
func disks() {
	fs := must(blockdevice.NewDefaultFS())
	before := must(fs.ProcDiskstats())
	blocks := must(fs.SysBlockDevices())
	expect(len(before) == 1 && len(blocks) == 1, "diskstats", before, blocks)
	for i, disk := range before {
		name := disk.DeviceName
		file := must(os.Open("/dev/" + name))
		must(io.ReadFull(file, make([]byte, 1<<20)))
		file.Close()
		after := must(fs.ProcDiskstats())[i]
		expect(after.ReadSectors-disk.ReadSectors >= 2048 && after.ReadIOs > disk.ReadIOs, "diskstats", disk, after)
		stat, _, err := fs.SysBlockDeviceStat(name)
		expect(err == nil && stat.ReadSectors >= after.ReadSectors, "block: stat", stat, err)
		size, err := strconv.Atoi(read("/sys/block/" + name + "/size"))
		expect(err == nil && size == 4<<20/512, "block: size", size, err)
		expect(vmstat()["pgpgin"] >= 1024, "vmstat: pgpgin")
	}
}

// Procfs has no parser for this one.
func vmstat() map[string]uint64 {
	values := map[string]uint64{}
	for _, line := range strings.Split(read("/proc/vmstat"), "\n") {
		name, value, _ := strings.Cut(line, " ")
		values[name] = must(strconv.ParseUint(value, 10, 64))
	}
	return values
}

func text(bytes []int8) string {
	var out strings.Builder
	for _, b := range bytes {
		if b == 0 {
			break
		}
		out.WriteByte(byte(b))
	}
	return out.String()
}

func sendTo(network, address string) {
	connection := must(net.Dial(network, address))
	must(connection.Write([]byte{1}))
	connection.Close()
}

// A connection to itself, and what /proc/net says of it.
func network() {
	fs := must(procfs.NewDefaultFS())
	devices := must(fs.NetDev())
	interfaces := must(net.Interfaces())
	expect(len(devices) == len(interfaces), "net/dev", devices)
	before := devices["lo"].RxBytes
	self := must(procfs.Self())
	tcp := must(self.Snmp()).Tcp
	classes := must(must(sysfs.NewDefaultFS()).NetClass())
	expect(len(classes) == len(interfaces), "class/net", classes)
	for _, one := range interfaces {
		class, flags := classes[one.Name], uint64(0)
		if one.Flags&net.FlagUp != 0 {
			flags = unix.IFF_UP
		}
		expect(*class.IfIndex == int64(one.Index) && *class.MTU == int64(one.MTU) && *class.Carrier == 1 && class.OperState != "" &&
			*class.Flags&unix.IFF_UP == int64(flags), "class/net", one.Name, class)
		expect(one.HardwareAddr == nil || class.Address == one.HardwareAddr.String(), "class/net: address", class.Address)
		link := must(os.Readlink("/sys/class/net/" + one.Name))
		expect(strings.Contains(link, "/virtual/") == (one.Name == "lo"), "class/net: link", link)
		_, err := strconv.Atoi(read("/sys/class/net/" + one.Name + "/statistics/rx_bytes"))
		expect(err == nil, "class/net: statistics", err)
	}
	listener := must(net.Listen("tcp4", "127.0.0.1:0"))
	client := must(net.Dial("tcp4", listener.Addr().String()))
	server := must(listener.Accept())
	must(client.Write(make([]byte, 100000)))
	must(io.ReadFull(server, make([]byte, 100000)))
	received := must(fs.NetDev())["lo"].RxBytes - before
	expect(received >= 100000 && received < 130000, "net/dev: lo", received)
	port := uint64(listener.Addr().(*net.TCPAddr).Port)
	listening, established := 0, 0
	for _, row := range must(fs.NetTCP()) {
		if row.LocalPort == port && row.St == 10 {
			listening++
		}
		if (row.LocalPort == port || row.RemPort == port) && row.St == 1 {
			established++
		}
	}
	expect(listening == 1 && established == 2, "net/tcp", listening, established)
	datagrams := must(net.ListenPacket("udp4", "127.0.0.1:0"))
	found := false
	for _, row := range must(fs.NetUDP()) {
		found = found || row.LocalPort == uint64(datagrams.LocalAddr().(*net.UDPAddr).Port)
	}
	expect(found, "net/udp")
	sender := must(net.Dial("udp4", datagrams.LocalAddr().String()))
	udp := must(self.Snmp()).Udp
	must(sender.Write(make([]byte, 10)))
	for _, row := range must(fs.NetUDP()) {
		if row.LocalPort == uint64(datagrams.LocalAddr().(*net.UDPAddr).Port) {
			expect(row.RxQueue >= 10 && row.Inode != 0, "net/udp: queue", row)
		}
	}
	counts := must(self.Snmp())
	expect(*counts.Udp.InDatagrams == *udp.InDatagrams+1 && *counts.Udp.OutDatagrams == *udp.OutDatagrams+1, "net/snmp: UDP", counts.Udp)
	sender.Close()
	sendTo("udp4", "127.0.0.1:9")
	expect(*must(self.Snmp()).Udp.NoPorts == *udp.NoPorts+1, "net/snmp: no port")
	expect(*counts.Tcp.ActiveOpens == *tcp.ActiveOpens+1 && *counts.Tcp.PassiveOpens == *tcp.PassiveOpens+1 &&
		*counts.Tcp.CurrEstab == *tcp.CurrEstab+2 && *counts.Tcp.InSegs > *tcp.InSegs && *counts.Ip.InReceives > 0, "net/snmp: TCP", counts.Tcp)
	six := must(self.Snmp6())
	sendTo("udp6", "[::1]:9")
	counts6 := must(self.Snmp6())
	expect(*counts6.Udp6.NoPorts == *six.Udp6.NoPorts+1 && *counts6.Ip6.InReceives > *six.Ip6.InReceives, "net/snmp6", counts6)
	_, err := self.Netstat()
	expect(err == nil, "net/netstat", err)
	sockets := must(fs.NetSockstat())
	inUse := map[string]int{}
	for _, protocol := range append(sockets.Protocols, must(fs.NetSockstat6()).Protocols...) {
		inUse[protocol.Protocol] = protocol.InUse
	}
	expect(*sockets.Used >= 4 && inUse["TCP"] >= 3 && inUse["UDP"] >= 1, "net/sockstat", *sockets.Used, inUse)
	softnet := must(fs.NetSoftnetStat())
	expect(len(softnet) == runtime.NumCPU(), "net/softnet_stat", softnet)
	_, err = fs.GatherARPEntries()
	expect(err == nil, "net/arp", err)
	routes := must(fs.NetRoute())
	expect(len(routes) >= 1 && routes[0].Iface != "", "net/route", routes)
	name := filepath.Join(os.TempDir(), "socket")
	local := must(net.Listen("unix", name))
	peer := must(net.Dial("unix", name))
	accepted := must(local.Accept())
	states := map[procfs.NetUNIXState]int{}
	for _, row := range must(fs.NetUNIX()).Rows {
		if row.Path == name {
			states[row.State]++
			expect(row.Type == 1 && (row.State == 3 || row.Flags == 1<<16), "net/unix", row)
		}
	}
	expect(states[1] == 1 && states[3] == 1, "net/unix", states)
	accepted.Close()
	peer.Close()
	local.Close()
	loop := false
	for _, line := range strings.Split(read("/proc/net/if_inet6"), "\n") {
		loop = loop || strings.HasPrefix(line, "00000000000000000000000000000001 01 80 10 80") && strings.HasSuffix(line, " lo")
	}
	expect(loop, "net/if_inet6", read("/proc/net/if_inet6"))
	for _, file := range []string{"tcp6", "udp6", "route", "netstat", "igmp", "igmp6"} {
		_, err := os.ReadFile("/proc/net/" + file)
		expect(err == nil, "net/"+file, err)
	}
	server.Close()
	client.Close()
	listener.Close()
	datagrams.Close()
}

func open(path string, flags int) *os.File {
	file := must(os.OpenFile(path, flags, 0))
	opened = append(opened, file)
	return file
}

var opened []*os.File

func devices() {
	buffer := make([]byte, 64)
	n, err := open("/dev/null", os.O_RDONLY).Read(buffer)
	expect(n == 0 && err == io.EOF, "null", n, err)
	n, err = open("/dev/zero", os.O_RDONLY).Read(buffer)
	expect(n == 64 && err == nil && bytes.Equal(buffer, make([]byte, 64)), "zero", n, err)
	_, err = open("/dev/full", os.O_WRONLY).Write(buffer)
	expect(err != nil && strings.Contains(err.Error(), "no space left"), "full", err)
	for _, name := range []string{"/dev/random", "/dev/urandom"} {
		n, err = open(name, os.O_RDONLY).Read(buffer)
		expect(n == 64 && err == nil && !bytes.Equal(buffer, make([]byte, 64)), name, n, err)
	}
	for i, name := range []string{"stdin", "stdout", "stderr"} {
		target, err := os.Readlink("/dev/" + name)
		expect(err == nil && target == fmt.Sprintf("/proc/self/fd/%d", i), name, target, err)
	}
	target, err := os.Readlink("/dev/fd")
	expect(err == nil && target == "/proc/self/fd", "fd", target, err)
	for _, file := range opened {
		file.Close()
	}
	info, err := os.Stat("/dev/tty")
	expect(err == nil && info.Mode()&os.ModeCharDevice != 0, "tty", err)
}

// What the Prometheus client exports by default, from one gathering.
func gather(registry *prometheus.Registry) map[string]float64 {
	values := map[string]float64{}
	for _, family := range must(registry.Gather()) {
		metric := family.GetMetric()[0]
		switch {
		case metric.Gauge != nil:
			values[family.GetName()] = metric.Gauge.GetValue()
		case metric.Counter != nil:
			values[family.GetName()] = metric.Counter.GetValue()
		}
	}
	return values
}

func prometheusClient() {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{ReportErrors: true}))
	debug.FreeOSMemory() // else what grows takes what was given up before
	before := gather(registry)
	burn(time.Second)
	file := must(os.Open("/dev/null"))
	held := bytes.Repeat([]byte{1}, 48<<20)
	low := cpuTime()
	after := gather(registry)
	spent := after["process_cpu_seconds_total"] - before["process_cpu_seconds_total"]
	expect(spent > 0.9 && spent < 60, "prometheus: CPU seconds", spent)
	expect(between(low, after["process_cpu_seconds_total"], cpuTime()), "prometheus: all CPU seconds", low, after["process_cpu_seconds_total"], cpuTime())
	expect(after["process_open_fds"] == before["process_open_fds"]+1, "prometheus: open files", before["process_open_fds"], after["process_open_fds"])
	var limit syscall.Rlimit
	must(0, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	expect(after["process_max_fds"] == float64(limit.Cur), "prometheus: most files", after["process_max_fds"])
	grown := after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]
	expect(grown > 40<<20 && grown < 70<<20, "prometheus: resident memory", grown)
	expect(after["process_virtual_memory_bytes"] > after["process_resident_memory_bytes"], "prometheus: virtual memory", after["process_virtual_memory_bytes"])
	age := float64(time.Now().UnixNano())/1e9 - after["process_start_time_seconds"]
	expect(age > 1 && age < 120, "prometheus: start time", age)
	_, network := after["process_network_receive_bytes_total"]
	expect(network, "prometheus: network")
	expect(after["go_goroutines"] >= 1 && after["go_threads"] >= 2, "prometheus: go", after["go_goroutines"], after["go_threads"])
	expect(after["go_memstats_heap_inuse_bytes"] > 48<<20, "prometheus: heap", after["go_memstats_heap_inuse_bytes"])
	runtime.KeepAlive(held)
	file.Close()
}

func main() {
	process()
	system()
	load()
	disks()
	network()
	devices()
	prometheusClient()
	fmt.Println("wrong:", failures)
}
