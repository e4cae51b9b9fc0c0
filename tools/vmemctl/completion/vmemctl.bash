# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash disable=SC2016,SC2207 # compgen expands; no word has blanks
#
# Completion for bash: commands and long options are what `vmemctl --help` lists.

# The processes that hold a VM, as far as the caller may look
_vmemctl_pids() {
	find /proc/[0-9]*/fd -lname 'anon_inode:kvm-vm' 2>/dev/null |
		cut -d/ -f3 | sort -un
}

_vmemctl() {
	local cur prev words cword split=false commands command word
	_init_completion -s -n : || return

	case $prev in
	-p | --pid)
		COMPREPLY=($(compgen -W '$(_vmemctl_pids)' -- "$cur"))
		return
		;;
	--image | --qmp | -o | --output)
		_filedir
		return
		;;
	--region)
		# bash replaces what is behind the last colon.
		[[ $cur != *:*:*:* ]] || { cur=${cur#*:*:*:} && _filedir; }
		return
		;;
	--arch)
		COMPREPLY=($(compgen -W 'amd64 amd64-la57 i686 i686-pae' -- "$cur"))
		return
		;;
	--vendor)
		COMPREPLY=($(compgen -W 'intel amd' -- "$cur"))
		return
		;;
	esac
	if $split; then
		return
	fi
	commands=$("$1" --help 2>/dev/null |
		sed -n '/^Commands:/,/^$/s/^  \([a-z]\{1,\}\) .*/\1/p')
	if [[ $cur == -* ]]; then
		command=$(printf '%s\n' "${words[@]:1:cword-1}" |
			grep -Fxm 1 "$commands")
		COMPREPLY=($(compgen -W "$("$1" help ${command:+"$command"} |
			_parse_help -)" -- "$cur"))
		[[ ${COMPREPLY-} != *= ]] || compopt -o nospace
		return
	fi
	if [[ " ${words[*]:1:cword-1} " == *' mount '* ]]; then
		_filedir -d
		return
	fi
	for word in "${words[@]:1:cword-1}"; do
		[[ ! $'\n'$commands$'\n' == *$'\n'"$word"$'\n'* ]] || return
	done
	COMPREPLY=($(compgen -W '$commands' -- "$cur"))
} && complete -F _vmemctl vmemctl
