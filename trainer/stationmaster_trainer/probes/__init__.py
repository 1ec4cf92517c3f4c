"""What looks into a script that runs as it is, one library per file: `MODULE` is watched for, `install(module, probe)`.

`MODULE` is the part of the library that holds what is looked into. Nothing here imports the library, the script does.
"""
