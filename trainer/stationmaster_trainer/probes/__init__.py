"""What looks into a script that runs as it is, one library per file: `MODULE` is watched for, `install(module, probe)`.

A file of another name than its `MODULE` would be confusing; nothing here imports the library, the script does.
"""
