// SPDX-License-Identifier: GPL-2.0-only
/*
 * vCPUs: the registers of one, whatever it does at the moment, without its mutex,
 * which KVM_RUN holds, and without stopping it.
 *
 * Of a vCPU that is out of the guest struct kvm_vcpu has the registers, as far as KVM
 * read them: on AMD almost always all, on Intel CR3 and RIP only where KVM needed them,
 * and of CR0 and CR4 what the guest cannot change by itself. One that runs is nudged by an
 * empty IPI, which makes it leave the guest for a moment, and is looked at where it comes
 * back: on the tracepoint kvm_entry, with its state loaded and interrupts off. There
 * KVM's own way to read a register works.
 *
 * Lifetimes: a look is on the stack of its caller, which takes it out of the table under
 * the lock that the probe holds while it fills it in. The probe is registered for the first
 * look, and no longer for a second after the last: to do either has the kernel's code
 * changed on all CPUs, and the other has to wait for it. The module waits for the probe's
 * end. The vCPU is there as long as its VM, which the caller holds.
 *
 * Locks: looks_mutex (sleeps) for whether the probe is registered, and for whom;
 * looks_lock (with interrupts off) for the table and what is in it.
 */
#include <linux/completion.h>
#include <linux/hashtable.h>
#include <linux/jiffies.h>
#include <linux/kvm_host.h>
#include <linux/mutex.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/static_call.h>
#include <linux/tracepoint.h>
#include <linux/workqueue.h>
#include <vmem/mode.h>
#include <vmem/vcpu.h>
#include <vmem/walk.h>

/* What differs in KVM's structs */
#ifdef VMEM_KVM_HAS_PAGEWALK
#define vcpu_format(vcpu) ((vcpu)->arch.gva_walk.fmt)
#else
#define vcpu_format(vcpu) ((vcpu)->arch.root_mmu.guest_rsvd_check)
#endif
#ifdef VMEM_KVM_HAS_VCPU_REG
#define vcpu_rip(vcpu) ((vcpu)->arch.rip)
#define VMEM_REG_RIP VCPU_REG_RIP
#define VMEM_REG_CR0 VCPU_REG_CR0
#define VMEM_REG_CR3 VCPU_REG_CR3
#define VMEM_REG_CR4 VCPU_REG_CR4
#else
#define vcpu_rip(vcpu) ((vcpu)->arch.regs[VCPU_REGS_RIP])
#define VMEM_REG_RIP VCPU_REGS_RIP
#define VMEM_REG_CR0 VCPU_EXREG_CR0
#define VMEM_REG_CR3 VCPU_EXREG_CR3
#define VMEM_REG_CR4 VCPU_EXREG_CR4
#endif
#ifdef HF_SMM_MASK
#define VMEM_SMM_MASK HF_SMM_MASK
#else
#define VMEM_SMM_MASK 0
#endif

/**
 * struct look - somebody waits for a vCPU to enter the guest
 * @others: its place in the table, if it has one
 * @vcpu: the vCPU
 * @armed: it has been out of the guest since the look began
 * @found: the registers that it entered with
 * @done: it has entered
 */
struct look {
	struct hlist_node others;
	struct kvm_vcpu *vcpu;
	bool armed;
	struct vmem_vcpu_args found;
	struct completion done;
};

/*
 * By vCPU. One that enters goes through a whole chain of the table with interrupts off,
 * so only so many looks at one vCPU are in it; other callers try again.
 */
#define MAX_LOOKS 16
static DEFINE_HASHTABLE(looks, 8);
static DEFINE_RAW_SPINLOCK(looks_lock);

static DEFINE_MUTEX(looks_mutex);
static bool is_registered;
static atomic_t nr_callers; /* goes up under looks_mutex */

static unsigned long key_of(const struct kvm_vcpu *vcpu)
{
	return (unsigned long)vcpu;
}

/*
 * KVM reserves all bits above the address but this one, and this one only where the
 * VM is of a SEV kind (sev_vcpu_after_set_cpuid()).
 */
int vmem_vcpu_encryption_bit(const struct kvm_vcpu *vcpu)
{
	u64 used = READ_ONCE(vcpu->arch.reserved_gpa_bits);
	int width = READ_ONCE(vcpu->arch.maxphyaddr);

	if (width < VMEM_MIN_PHYADDR || width >= VMEM_MAX_PHYADDR)
		return 0;
	used |= BIT_ULL(width) - 1;
	used |= ~(BIT_ULL(VMEM_MAX_PHYADDR) - 1);
	return ~used ? __ffs64(~used) : 0;
}

/*
 * What the vCPU's processor reserves, as KVM derived it from the CPUID that the VMM
 * set: bit 8 of a PML4E, PS of a PDPTE. In other modes than long mode it is not
 * derived, and has no meaning.
 */
static u32 rules_of(const struct kvm_vcpu *vcpu)
{
	const u64(*reserved)[PT64_ROOT_MAX_LEVEL] =
		vcpu_format(vcpu).rsvd_bits_mask;
	u32 rules = VMEM_RULES_ENCRYPTION_BIT(vmem_vcpu_encryption_bit(vcpu));

	if (!(READ_ONCE(vcpu->arch.efer) & EFER_LMA))
		return rules;
	if (READ_ONCE(reserved[0][VMEM_LEVEL_PML4 - 1]) & BIT_ULL(8))
		rules |= VMEM_RULES_AMD;
	if (READ_ONCE(reserved[1][VMEM_LEVEL_PDPT - 1]) & BIT_ULL(7))
		rules |= VMEM_RULES_NO_1G;
	return rules;
}

/* Asked to read registers of TDX, KVM warns, even where guest_state_protected is clear. */
bool vmem_vcpu_is_protected(const struct kvm_vcpu *vcpu)
{
#ifdef KVM_X86_TDX_VM
	if (vcpu->kvm->arch.vm_type == KVM_X86_TDX_VM)
		return true;
#endif
	return READ_ONCE(vcpu->arch.guest_state_protected);
}

/* The set of registers that KVM has is a word, whose type depends on the kernel. */
static bool is_cached(const struct kvm_vcpu *vcpu, enum kvm_reg reg)
{
	return test_bit(reg, (const unsigned long *)&vcpu->arch.regs_avail);
}

/*
 * KVM reads CR3 of AMD's in its handler of an exit. Newer kernels may leave to the VMM
 * without having called it: for HLT where KVM has no APIC for the vCPU, and where the VMM
 * steps through the guest's instructions.
 */
static bool may_miss_cr3(const struct kvm_vcpu *vcpu)
{
#ifdef VMEM_KVM_HAS_EXIT_USERSPACE
	return boot_cpu_has(X86_FEATURE_SVM) &&
	       (!vcpu->arch.apic ||
		READ_ONCE(vcpu->guest_debug) & KVM_GUESTDBG_SINGLESTEP);
#else
	return false;
#endif
}

/* Bits of CR0 and CR4 that the guest changed without an exit are not in the copy. */
static bool has_old_bits(const struct kvm_vcpu *vcpu)
{
	return (READ_ONCE(vcpu->arch.cr0_guest_owned_bits) &&
		!is_cached(vcpu, VMEM_REG_CR0)) ||
	       (READ_ONCE(vcpu->arch.cr4_guest_owned_bits) &&
		!is_cached(vcpu, VMEM_REG_CR4));
}

/* What KVM has */
static void copy_regs(const struct kvm_vcpu *vcpu, struct vmem_vcpu_args *to)
{
	u32 hflags = READ_ONCE(vcpu->arch.hflags);

	to->out_id = vcpu->vcpu_id;
	to->out_regs = (struct vmem_regs){
		.cr0 = READ_ONCE(vcpu->arch.cr0),
		.cr4 = READ_ONCE(vcpu->arch.cr4),
		.efer = READ_ONCE(vcpu->arch.efer),
		.maxphyaddr = READ_ONCE(vcpu->arch.maxphyaddr),
		.rules = rules_of(vcpu),
	};
	to->out_pat = READ_ONCE(vcpu->arch.pat);
	to->out_rip = 0;
	to->out_state = 0;
	if (hflags & VMEM_SMM_MASK)
		to->out_state |= VMEM_VCPU_SMM;
	if (hflags & HF_GUEST_MASK)
		to->out_state |= VMEM_VCPU_NESTED;
	if (has_old_bits(vcpu))
		to->out_state |= VMEM_VCPU_OLD_BITS;
	if (is_cached(vcpu, VMEM_REG_CR3) && !may_miss_cr3(vcpu))
		to->out_regs.cr3 = READ_ONCE(vcpu->arch.cr3);
	else
		to->out_state |= VMEM_VCPU_NO_CR3;
	if (is_cached(vcpu, VMEM_REG_RIP))
		to->out_rip = READ_ONCE(vcpu_rip(vcpu));
	else
		to->out_state |= VMEM_VCPU_NO_RIP;
}

/* Out of the guest */

static bool is_halted(const struct kvm_vcpu *vcpu)
{
	return READ_ONCE(vcpu->stat.generic.blocking);
}

static bool is_idle(struct kvm_vcpu *vcpu, bool halted)
{
	return halted ? is_halted(vcpu) : !mutex_is_locked(&vcpu->mutex);
}

/*
 * A vCPU that sleeps in HLT, or that nobody is in an ioctl of. KVM's copy stays as it is
 * until the vCPU wakes up, or somebody begins an ioctl: either shows, unless it is over
 * again, and then the copies differ, or the number of exits does.
 */
static bool look_outside(struct kvm_vcpu *vcpu, struct vmem_vcpu_args *args)
{
	bool halted = is_halted(vcpu);
	u64 exits = READ_ONCE(vcpu->stat.exits);
	struct vmem_vcpu_args again = *args;

	if (!is_idle(vcpu, halted))
		return false;
	smp_rmb(); /* idle before the first copy, and so on: each is read in turn */
	copy_regs(vcpu, &again);
	smp_rmb(); /* likewise */
	if (!is_idle(vcpu, halted))
		return false;
	smp_rmb(); /* likewise */
	copy_regs(vcpu, args);
	smp_rmb(); /* likewise */
	args->out_known = halted ? VMEM_KNOWN_HALTED : VMEM_KNOWN_EXIT;
	again.out_known = args->out_known;
	return is_idle(vcpu, halted) && READ_ONCE(vcpu->stat.exits) == exits &&
	       !memcmp(args, &again, sizeof(again));
}

/* In the guest */

/* On the CPU where the vCPU is loaded: have KVM read a register that it does not have. */
static void cache_reg(struct kvm_vcpu *vcpu, enum kvm_reg reg)
{
	if (!is_cached(vcpu, reg))
		static_call(kvm_x86_cache_reg)(vcpu, reg);
}

/*
 * Newer kernels pass an argument more, which is not looked at. CR0 and CR4 are read anew
 * only where the guest may write to bits of them without an exit.
 */
static void on_entry(void *unused, struct kvm_vcpu *vcpu)
{
	struct hlist_node *next;
	struct look *look;

	if (hlist_empty(&looks[hash_min(key_of(vcpu), HASH_BITS(looks))]))
		return;
	raw_spin_lock(&looks_lock);
	hash_for_each_possible_safe(looks, look, next, others, key_of(vcpu)) {
		if (look->vcpu != vcpu || !look->armed ||
		    vmem_vcpu_is_protected(vcpu))
			continue;
		cache_reg(vcpu, VMEM_REG_CR3);
		cache_reg(vcpu, VMEM_REG_RIP);
		if (vcpu->arch.cr0_guest_owned_bits)
			cache_reg(vcpu, VMEM_REG_CR0);
		if (vcpu->arch.cr4_guest_owned_bits)
			cache_reg(vcpu, VMEM_REG_CR4);
		copy_regs(vcpu, &look->found);
		look->found.out_known = VMEM_KNOWN_ENTRY;
		hash_del(&look->others);
		complete(&look->done);
	}
	raw_spin_unlock(&looks_lock);
}

/*
 * From an IPI, on the CPU that the vCPU was last loaded on. If it still is, it has left
 * the guest, and KVM has the registers that it left with, or has marked them as not read,
 * before it enters again, here or elsewhere. If it runs elsewhere, nothing is known.
 *
 * Without that, AMD's CR3 may be old: KVM enters again after some exits without having
 * looked at it (EXIT_FASTPATH_REENTER_GUEST), which an exit for an interrupt never is.
 */
static void arm(void *priv)
{
	struct look *look = priv;

	raw_spin_lock(&looks_lock);
	if (READ_ONCE(look->vcpu->cpu) == smp_processor_id())
		look->armed = true;
	raw_spin_unlock(&looks_lock);
}

static void end_probe(struct work_struct *work)
{
	mutex_lock(&looks_mutex);
	if (is_registered && !atomic_read(&nr_callers)) {
		tracepoint_probe_unregister(&__tracepoint_kvm_entry, on_entry,
					    NULL);
		is_registered = false;
	}
	mutex_unlock(&looks_mutex);
}

static DECLARE_DELAYED_WORK(end_probe_work, end_probe);

static int begin_probe(void)
{
	int ret = 0;

	if (!is_registered)
		ret = tracepoint_probe_register(&__tracepoint_kvm_entry,
						on_entry, NULL);
	is_registered = !ret;
	return ret;
}

static int add_caller(void)
{
	int ret = mutex_lock_killable(&looks_mutex);

	if (ret)
		return ret;
	ret = begin_probe();
	if (!ret)
		atomic_inc(&nr_callers);
	mutex_unlock(&looks_mutex);
	return ret;
}

static void remove_caller(void)
{
	atomic_dec(&nr_callers);
	mod_delayed_work(system_power_efficient_wq, &end_probe_work, HZ);
}

/* Returns whether it is in the table. */
static bool add_look(struct look *look)
{
	struct look *other;
	u32 nr = 0;

	if (!hlist_unhashed_lockless(&look->others))
		return true;
	raw_spin_lock_irq(&looks_lock);
	hash_for_each_possible(looks, other, others, key_of(look->vcpu))
		nr += other->vcpu == look->vcpu;
	if (nr < MAX_LOOKS)
		hash_add(looks, &look->others, key_of(look->vcpu));
	raw_spin_unlock_irq(&looks_lock);
	return nr < MAX_LOOKS;
}

static void remove_look(struct look *look)
{
	raw_spin_lock_irq(&looks_lock);
	hash_del(&look->others);
	raw_spin_unlock_irq(&looks_lock);
}

static bool has_cr3(const struct vmem_vcpu_args *args)
{
	return !(args->out_state & VMEM_VCPU_NO_CR3);
}

/* In the guest, or on its way there; the CPU that it was on may have changed since. */
static void nudge(struct look *look)
{
	int cpu = READ_ONCE(look->vcpu->cpu);

	if (cpu >= 0 && !READ_ONCE(look->armed))
		smp_call_function_single(cpu, arm, look, true);
}

/*
 * Return: 0 if the vCPU is out of the guest to stay, with its registers in @outside; 1 if it
 * entered the guest; -ETIMEDOUT.
 */
static int wait_for_entry(struct look *look, u32 timeout_us,
			  struct vmem_vcpu_args *outside)
{
	unsigned long end = jiffies + usecs_to_jiffies(timeout_us) + 1;

	do {
		long left;
		int ret;

		/*
		 * In the table before it is armed: only the first entry after that is
		 * sure to have CR3 anew, see arm().
		 */
		if (add_look(look))
			nudge(look);
		left = wait_for_completion_interruptible_timeout(&look->done,
								 1);
		if (left > 0)
			return 1;
		ret = left ? vmem_breathe() : 0;
		if (ret)
			return ret;
		if (look_outside(look->vcpu, outside) && has_cr3(outside))
			return 0;
	} while (time_before(jiffies, end));
	return -ETIMEDOUT;
}

static int look_at_entry(struct kvm_vcpu *vcpu, struct vmem_vcpu_args *args)
{
	struct look look = { .vcpu = vcpu, .found = *args };
	int ret;

	/* A call that is checked (CFI) must have exactly the arguments of on_entry(). */
	if (IS_ENABLED(CONFIG_CFI_CLANG) || IS_ENABLED(CONFIG_CFI))
		return -ETIMEDOUT;
	init_completion(&look.done);
	ret = add_caller();
	if (ret)
		return ret;
	ret = wait_for_entry(&look, args->timeout_us, args);
	remove_look(&look);
	remove_caller();
	if (ret > 0)
		*args = look.found;
	return min(ret, 0);
}

/* Neither out of the guest to stay, nor seen to enter it: CR3 and RIP may be old. */
static void say_unknown(const struct kvm_vcpu *vcpu,
			struct vmem_vcpu_args *args)
{
	copy_regs(vcpu, args);
	args->out_known = VMEM_KNOWN_UNKNOWN;
	args->out_state |= VMEM_VCPU_NO_CR3 | VMEM_VCPU_NO_RIP;
	args->out_regs.cr3 = 0;
	args->out_rip = 0;
}

static int look_at(struct kvm_vcpu *vcpu, struct vmem_vcpu_args *args)
{
	int ret = -ETIMEDOUT;

	if (look_outside(vcpu, args) && has_cr3(args))
		return 0;
	if (args->timeout_us)
		ret = look_at_entry(vcpu, args);
	if (ret != -ETIMEDOUT)
		return ret;
	if (!look_outside(vcpu, args))
		say_unknown(vcpu, args);
	return 0;
}

/* A vCPU may be protected while it is looked at: what KVM has is old then. */
int vmem_vcpu_read(struct kvm_vcpu *vcpu, struct vmem_vcpu_args *args)
{
	int ret = vmem_vcpu_is_protected(vcpu) ? -EACCES : look_at(vcpu, args);

	return vmem_vcpu_is_protected(vcpu) ? -EACCES : ret;
}

void vmem_vcpu_exit(void)
{
	cancel_delayed_work_sync(&end_probe_work);
	end_probe(NULL);
	tracepoint_synchronize_unregister();
}
