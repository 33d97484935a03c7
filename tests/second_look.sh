# SPDX-License-Identifier: MIT
#
# second_look.sh - what failed among others is looked at again, alone; sourced by run.sh
#
# Four test files run at a time on two cores, and some tests wait for what happens there. What fails
# in that crowd is run three times more with the machine to itself. If it fails once more it has
# failed; if not it is unsteady: it counts as passed, the run's end names it, and its failure stays
# in the output above, because a test that is unsteady is a bug, in it or in culvert.
#
# A sanitizer's finding is never looked at twice, nor is a run in which much fails.
# CULVERT_STRICT=1: no second look at all.

second_looks_max=5
second_look_seconds=300
unsteady=()

# second_look NAME LOG COMMAND... - 0: it was unsteady; LOG says how it failed, LOG.again what came then
second_look()
{
	local name=$1 log=$2
	shift 2
	[ -z "${CULVERT_STRICT:-}" ] && [ ${#unsteady[@]} -lt $second_looks_max ] || return 1
	! grep -qE 'Sanitizer: |runtime error: ' "$log" || return 1
	printf '   %s failed: looking again\n' "$name"
	for _ in 1 2 3; do
		timeout -k 5 $second_look_seconds "$@" >"$log.again" 2>&1 </dev/null || return 1
	done
	unsteady+=("$name")
}
