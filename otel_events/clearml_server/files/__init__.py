"""The file server of ClearML: uploads, downloads, deletion."""
