# git. The signing key is delivered to the machine as a file of jay's; git is told where it lies, never what it is.
{ osConfig, ... }:
{
  programs.git = {
    enable = true;
    includes = [ { path = ../../dotfiles/gitconfig; } ];
    signing = {
      format = "ssh";
      key = osConfig.sealift.secrets."ssh-keys/jay-signing".path;
      signByDefault = true;
    };
  };
}
