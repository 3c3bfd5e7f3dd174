# Short words, in every shell.
{ hostName, ... }:
{
  home.shellAliases = {
    ll = "ls -lh";
    gs = "git status --short --branch";
    deploy = "sealift deploy";
    rollback = "sealift rollback";
    whereami = "echo ${hostName}";
  };
}
