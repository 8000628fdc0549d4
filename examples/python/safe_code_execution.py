"""Run code in five languages in a sandbox that it cannot get out of.

The calls of https://modal.com/docs/examples/safe_code_execution, with the official Modal client, against a Skerry server:

    eval "$(skerry env)"
    pip install modal
    python safe_code_execution.py
"""

import modal

# An image with a few language runtimes. It is built when it is first used, and cached.
image = modal.Image.debian_slim(python_version="3.11").apt_install("nodejs", "ruby", "php")
app = modal.App.lookup("example-safe-code-execution", create_if_missing=True)

# Without a command the sandbox stays alive and waits for us. With output enabled we see the image being built.
with modal.enable_output():
    sandbox = modal.Sandbox.create(app=app, image=image)

print(f"Sandbox ID: {sandbox.object_id}")

# The five processes run at the same time.
bash_ps = sandbox.exec("echo", "hello from bash")
python_ps = sandbox.exec("python", "-c", "print('hello from python')")
nodejs_ps = sandbox.exec("node", "-e", 'console.log("hello from nodejs")')
ruby_ps = sandbox.exec("ruby", "-e", "puts 'hello from ruby'")
php_ps = sandbox.exec("php", "-r", "echo 'hello from php';")

print(bash_ps.stdout.read(), end="")
print(python_ps.stdout.read(), end="")
print(nodejs_ps.stdout.read(), end="")
print(ruby_ps.stdout.read(), end="")
print(php_ps.stdout.read(), end="")
print()

# Languages work together through pipes: Python draws numbers, Node.js adds them up.
draw = 'import random; print(*(random.randint(1, 100) for _ in range(10)))'
add = """
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const sum = line.split(" ").map(Number).reduce((a, b) => a + b, 0);
  console.log(`The sum of the random numbers is: ${sum}`);
});
"""
combined_process = sandbox.exec("bash", "-c", f"python -c '{draw}' | node -e '{add}'")
print(combined_process.stdout.read().strip())

# Output of a long-running process comes as it is printed.
slow_printer = sandbox.exec(
    "ruby",
    "-e",
    """
    10.times do |i|
      puts "Line #{i + 1}: #{Time.now}"
      STDOUT.flush
      sleep(0.5)
    end
    """,
)
for line in slow_printer.stdout:
    print(line, end="", flush=True)

# The sandbox is kept apart from everything else, so this harms only itself.
sandbox.exec("rm", "-rfv", "/", "--no-preserve-root")

sandbox.terminate()
