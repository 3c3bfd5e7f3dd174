# Privileges of the install units. Nothing here may create a mount namespace (as ProtectSystem, PrivateTmp,
# ReadWritePaths and others do): the memory mounted for secrets would vanish with the unit. tests/nix_install.rs checks
# this.
{
  CapabilityBoundingSet = [
    "CAP_CHOWN" # delivered files are given to their owners
    "CAP_DAC_OVERRIDE" # they are in directories of others
    "CAP_FOWNER" # their mode is set after that
    "CAP_SYS_ADMIN" # memory is mounted
  ];
  NoNewPrivileges = true;
  SystemCallArchitectures = "native";
  SystemCallFilter = [
    "@system-service"
    "@mount"
  ];
  SystemCallErrorNumber = "EPERM";
  # Only for systemctl, which restarts units.
  RestrictAddressFamilies = [ "AF_UNIX" ];
  IPAddressDeny = "any";
  # Not RestrictSUIDSGID: it also blocks openat2, whose flags a filter cannot inspect, and thus every lookup below a
  # root.
  RestrictNamespaces = true;
  RestrictRealtime = true;
  LockPersonality = true;
  MemoryDenyWriteExecute = true;
  DevicePolicy = "closed";
  ProtectClock = true;
  KeyringMode = "private";
  UMask = "0077";
  LimitCORE = 0;
}
