# What `gvisor.ts` has a sandbox do: `files` or `calls`.
use strict;
use warnings;

my ($DIRS, $FILES, $BYTES, $CALLS) = (40, 100, 2048, 100_000);

sub files {
    my $root = "/bench-files-$$";
    my $content = 'x' x $BYTES;
    mkdir $root or die "$root: $!";
    for my $dir (map { "$root/$_" } 1 .. $DIRS) {
        mkdir $dir or die "$dir: $!";
        for my $file (map { "$dir/$_.js" } 1 .. $FILES) {
            open my $out, '>', $file or die "$file: $!";
            print $out $content;
            close $out or die "$file: $!";
        }
    }
    for my $file (glob "$root/*/*") {
        -s $file == $BYTES or die "$file has another size";
        open my $in, '<', $file or die "$file: $!";
        local $/;
        length(<$in>) == $BYTES or die "$file has another length";
    }
    unlink $_ or die "$_: $!" for glob "$root/*/*";
    rmdir $_ or die "$_: $!" for glob("$root/*"), $root;
}

sub calls {
    for (1 .. $CALLS) {
        getppid;
        -e '/etc/passwd' or die 'no /etc/passwd';
    }
}

my %loads = (files => \&files, calls => \&calls);
($loads{ $ARGV[0] // '' } // die "usage: load.pl files|calls\n")->();
