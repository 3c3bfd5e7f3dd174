# What the install units may do. Nothing here makes a mount namespace (as ProtectSystem, PrivateTmp, ReadWritePaths and
# their like do): the memory that is mounted for secrets would vanish with the unit. tests/nix_install.rs holds that.
{
  CapabilityBoundingSet = [
    "CAP_CHOWN" # a delivered file is given to its owner
    "CAP_DAC_OVERRIDE" # and lies in folders of others
    "CAP_FOWNER" # its permissions are set after that
    "CAP_SYS_ADMIN" # memory is mounted
  ];
  NoNewPrivileges = true;
  SystemCallArchitectures = "native";
  SystemCallFilter = [
    "@system-service"
    "@mount"
  ];
  SystemCallErrorNumber = "EPERM";
  # systemctl, to tell units; nothing else is spoken to.
  RestrictAddressFamilies = [ "AF_UNIX" ];
  IPAddressDeny = "any";
  # Not RestrictSUIDSGID: it takes openat2 away too, whose flags a filter cannot see, and with it every look below a root.
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
