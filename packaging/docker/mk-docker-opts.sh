#!/bin/sh
# Writes Docker's options out of flannel's subnet.env, as flannel's script of this name does (same flags, same lines).
# subnet.env is parsed, never run; what cannot be used ends with exit code 1, and the options of the last time stay.
set -u
LC_ALL=C
export LC_ALL

usage() {
	cat >&2 <<-USAGE
		$0 [-f FLANNEL-ENV-FILE] [-d DOCKER-ENV-FILE] [-i] [-c] [-m] [-6] [-k COMBINED-KEY]

		Writes options for the Docker daemon out of flannel's env file.
		  -f  flannel's env file; /run/flannel/subnet.env
		  -d  the file to write; /run/docker_opts.env. With the same file as -f the options follow flannel's lines
		  -i  each option as a variable of its own, as in DOCKER_OPT_MTU="--mtu=1450"
		  -c  all options in one variable; without -i and -c both are written
		  -k  the name of that variable; DOCKER_OPTS
		  -m  without --ip-masq, for old versions of Docker
		  -6  with --ipv6 and --fixed-cidr-v6, where flannel has leased an IPv6 subnet
	USAGE
	exit 1
}

fail() {
	echo "mk-docker-opts: $1; $docker_env is left as it was" >&2
	exit 1
}

flannel_env=/run/flannel/subnet.env
docker_env=/run/docker_opts.env
combined_key=DOCKER_OPTS
single=false
combined=false
masquerade=true
ipv6=false

while getopts f:d:icmk:6h flag; do
	case $flag in
	f) flannel_env=$OPTARG ;;
	d) docker_env=$OPTARG ;;
	i) single=true ;;
	c) combined=true ;;
	m) masquerade=false ;;
	k) combined_key=$OPTARG ;;
	6) ipv6=true ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] || usage
if [ $single = false ] && [ $combined = false ]; then
	single=true
	combined=true
fi
case $combined_key in
'' | [0-9]* | *[!A-Za-z0-9_]* | FLANNEL_*) fail "-k '$combined_key' is no name for a variable of Docker's" ;;
esac

same_file=false
if [ "$docker_env" -ef "$flannel_env" ]; then
	same_file=true
	case $combined_key in DOCKER_?*) ;; *) fail "in $flannel_env flanneld keeps only variables named DOCKER_..., not '$combined_key'" ;; esac
fi

# value KEY: what stands behind the last KEY= of subnet.env
value() {
	sed -n "s/^$1=//p" "$flannel_env" | tail -n 1
}

# is_number TEXT LEAST MOST
is_number() {
	case $1 in '' | *[!0-9]* | ??????*) return 1 ;; esac
	[ "$1" -ge "$2" ] && [ "$1" -le "$3" ]
}

# network_of A.B.C.D/LENGTH: the subnet in its network form; fails for what is none
network_of() {
	case $1 in */*) ;; *) return 1 ;; esac
	length=${1#*/}
	is_number "$length" 1 32 || return 1
	address=0
	rest=${1%%/*}.
	for _ in 1 2 3 4; do
		octet=${rest%%.*}
		rest=${rest#*.}
		is_number "$octet" 0 255 || return 1
		address=$((address * 256 + octet))
	done
	[ -z "$rest" ] || return 1
	address=$((address & ~((1 << (32 - length)) - 1)))
	echo "$((address >> 24)).$((address >> 16 & 255)).$((address >> 8 & 255)).$((address & 255))/$length"
}

[ -f "$flannel_env" ] || fail "$flannel_env is not there: flanneld has not leased a subnet yet"
[ -r "$flannel_env" ] || fail "$flannel_env cannot be read"
[ -s "$flannel_env" ] || fail "$flannel_env is empty"
[ -z "$(tail -c 1 "$flannel_env")" ] || fail "$flannel_env is half written: its last line has no end"

! grep -q "$(printf '\r')" "$flannel_env" || fail "$flannel_env has line ends of Windows (CR before LF); flanneld writes none: something else wrote it"

subnet=$(value FLANNEL_SUBNET)
subnet6=$(value FLANNEL_IPV6_SUBNET)
mtu=$(value FLANNEL_MTU)
masq=$(value FLANNEL_IPMASQ)
network=

# Ours beat inherited ones of the same name.
if [ -n "$subnet" ]; then
	network=$(network_of "$subnet") || fail "FLANNEL_SUBNET in $flannel_env must be an IPv4 subnet such as 10.5.72.1/24, not '$subnet'"
	DOCKER_OPT_BIP="--bip=$subnet"
	export DOCKER_OPT_BIP
elif [ -z "$subnet6" ]; then
	fail "$flannel_env names no subnet: FLANNEL_SUBNET is missing"
fi
if [ -n "$mtu" ]; then
	is_number "$mtu" 68 65535 || fail "FLANNEL_MTU in $flannel_env must be a number from 68 to 65535, not '$mtu'"
	DOCKER_OPT_MTU="--mtu=$mtu"
	export DOCKER_OPT_MTU
fi
# Exactly one of Docker and flanneld masquerades.
case $masq in
'') ;;
true | false)
	if [ $masquerade = true ]; then
		[ "$masq" = true ] && DOCKER_OPT_IPMASQ=--ip-masq=false || DOCKER_OPT_IPMASQ=--ip-masq=true
		export DOCKER_OPT_IPMASQ
	fi
	;;
*) fail "FLANNEL_IPMASQ in $flannel_env must be true or false, not '$masq'" ;;
esac
if [ $ipv6 = true ]; then
	case $subnet6 in
	*[!0-9a-f:/]* | '' | */*/*) fail "-6 needs an IPv6 subnet: FLANNEL_IPV6_SUBNET in $flannel_env is '$subnet6'" ;;
	*:*/*) is_number "${subnet6#*/}" 1 128 || fail "FLANNEL_IPV6_SUBNET in $flannel_env must be an IPv6 subnet, not '$subnet6'" ;;
	*) fail "FLANNEL_IPV6_SUBNET in $flannel_env must be an IPv6 subnet, not '$subnet6'" ;;
	esac
	DOCKER_OPT_IPV6="--ipv6 --fixed-cidr-v6=$subnet6"
	export DOCKER_OPT_IPV6
fi

# quoted TEXT: within double quotes, as both a shell and systemd's EnvironmentFile= read them
quoted() {
	case $1 in *'
'*) fail "an inherited option has a line break" ;; esac
	printf '%s' "$1" | sed 's/[\\"$`]/\\&/g'
}

lines=
eval "all=\${$combined_key-}"
[ -z "$all" ] || all="$all "
names=$(env | sed -n 's/^\(DOCKER_OPT_[A-Za-z0-9_]*\)=.*/\1/p' | sort -u)
for name in $names; do
	eval "option=\${$name-}"
	text=$(quoted "$option") || exit 1
	[ $single = false ] || lines="$lines$name=\"$text\"
"
	all="$all $option"
done
if [ $combined = true ]; then
	text=$(quoted "$all") || exit 1
	lines="$lines$combined_key=\"$text\"
"
fi

# A reader never sees half of it.
fresh=$docker_env.$$
trap 'rm -f "$fresh"' EXIT
{
	if [ $same_file = true ]; then
		sed "/^DOCKER_OPT_[A-Za-z0-9_]*=/d; /^$combined_key=/d" "$flannel_env"
	fi
	printf '%s' "$lines"
} 2>/dev/null >"$fresh" || fail "$fresh cannot be written"
# Who waits for changes of the file (a .path unit, flanneld) hears of none where there is none.
if ! cmp -s "$fresh" "$docker_env"; then
	chmod 644 "$fresh" && mv -f "$fresh" "$docker_env" || fail "$docker_env cannot be replaced"
fi

if [ -n "$network" ]; then
	taken=$(ip route show "$network" 2>/dev/null | grep ' via ')
	if [ -n "$taken" ]; then
		echo "mk-docker-opts: a route leads the own subnet elsewhere: $taken" >&2
		exit 1
	fi
fi
